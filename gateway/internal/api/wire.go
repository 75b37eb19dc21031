package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"rookery/proto"
)

// wire is a message of the protocol as the body of an answer: its JSON is that of frames, and its schema is made from
// the protocol's own definition. So a field that the protocol gets is in both, without a line here.
type wire[M protoreflect.ProtoMessage] struct{ message M }

// answer is an answer with a body.
type answer[B any] struct{ Body B }

func answerWith[M protoreflect.ProtoMessage](m M) *answer[wire[M]] {
	return &answer[wire[M]]{wire[M]{m}}
}

// MarshalJSON writes the message as a frame has it.
func (w wire[M]) MarshalJSON() ([]byte, error) { return proto.AppendJSON(nil, w.message), nil }

// Schema implements huma.SchemaProvider.
func (w wire[M]) Schema(r huma.Registry) *huma.Schema {
	return schemaOf(r, reflect.Zero(reflect.TypeFor[M]()).Interface().(protoreflect.ProtoMessage).ProtoReflect().Descriptor())
}

// named puts a schema among those that have a name, and refers to it.
func named(r huma.Registry, name string, s *huma.Schema) *huma.Schema {
	if r.Map()[name] == nil {
		r.Map()[name] = s
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// schemaOf describes a message of the protocol.
func schemaOf(r huma.Registry, of protoreflect.MessageDescriptor) *huma.Schema {
	name, whole := string(of.Name()), string(of.FullName())
	if there := r.Map()[name]; there != nil {
		if there.Description != whole {
			panic("BUG: a type of the API has the name of the protocol's " + whole)
		}
		return named(r, name, there)
	}
	s := &huma.Schema{Type: huma.TypeObject, Description: whole, Properties: map[string]*huma.Schema{}}
	ref := named(r, name, s)
	for i := range of.Fields().Len() {
		field := of.Fields().Get(i)
		value := schemaOfField(r, field)
		if field.IsList() {
			value = &huma.Schema{Type: huma.TypeArray, Items: value}
		}
		s.Properties[field.JSONName()] = value
		if proto.InEveryJSON(field) {
			s.Required = append(s.Required, field.JSONName())
		}
	}
	return ref
}

func schemaOfField(r huma.Registry, field protoreflect.FieldDescriptor) *huma.Schema {
	least, most := 0.0, float64(proto.MaxInteger)
	switch field.Kind() {
	case protoreflect.BoolKind:
		return &huma.Schema{Type: huma.TypeBoolean}
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most}
	case protoreflect.StringKind:
		return &huma.Schema{Type: huma.TypeString}
	case protoreflect.BytesKind:
		return &huma.Schema{Type: huma.TypeString, ContentEncoding: "base64"}
	case protoreflect.MessageKind:
		return schemaOf(r, field.Message())
	}
	panic("BUG: the protocol has a kind of field that the document does not describe: " + field.Kind().String())
}
