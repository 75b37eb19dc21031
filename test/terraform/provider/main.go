// Provider stands in for the provider of Hetzner's cloud, which can't be had without its registry: it knows of both resources
// that deploy/terraform uses what is used there, by the names and types of the real one, and rents nothing. So Terraform reads the files,
// checks each value, and says in its state what the machine would be given.
package main

import (
	"context"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/hetznercloud/hcloud"}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return &hcloud{} }, options); err != nil {
		log.Fatal(err)
	}
}

type hcloud struct{}

func (hcloud) Metadata(_ context.Context, _ provider.MetadataRequest, response *provider.MetadataResponse) {
	response.TypeName = "hcloud"
}

func (hcloud) Schema(_ context.Context, _ provider.SchemaRequest, response *provider.SchemaResponse) {
	response.Schema = providerschema.Schema{}
}

func (hcloud) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (hcloud) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (hcloud) Resources(context.Context) []func() resource.Resource {
	id := schema.StringAttribute{Computed: true}
	text, needed := schema.StringAttribute{Optional: true}, schema.StringAttribute{Required: true}
	kind := func(name string, computed map[string]string, s schema.Schema) func() resource.Resource {
		return func() resource.Resource { return &rented{name, computed, s} }
	}
	return []func() resource.Resource{
		kind("firewall", map[string]string{"id": "38"}, schema.Schema{
			Attributes: map[string]schema.Attribute{"id": id, "name": text},
			Blocks: map[string]schema.Block{"rule": schema.SetNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: map[string]schema.Attribute{
				"direction": needed, "protocol": needed, "port": text,
				"source_ips": schema.SetAttribute{Optional: true, ElementType: types.StringType},
			}}}},
		}),
		kind("server", map[string]string{"id": "42", "ipv4_address": "192.0.2.1"}, schema.Schema{
			Attributes: map[string]schema.Attribute{
				"id": id, "name": needed, "server_type": needed, "image": text, "location": text, "user_data": text,
				"ssh_keys":     schema.ListAttribute{Optional: true, ElementType: types.StringType},
				"firewall_ids": schema.SetAttribute{Optional: true, ElementType: types.Int64Type},
				"ipv4_address": schema.StringAttribute{Computed: true},
			},
		}),
	}
}

// rented is a resource that is there as soon as it is asked for, with what the provider computes of it.
type rented struct {
	name     string
	computed map[string]string
	schema   schema.Schema
}

func (r *rented) Metadata(_ context.Context, request resource.MetadataRequest, response *resource.MetadataResponse) {
	response.TypeName = request.ProviderTypeName + "_" + r.name
}

func (r *rented) Schema(_ context.Context, _ resource.SchemaRequest, response *resource.SchemaResponse) {
	response.Schema = r.schema
}

func (r *rented) Create(ctx context.Context, request resource.CreateRequest, response *resource.CreateResponse) {
	response.State.Raw = request.Plan.Raw
	for name, value := range r.computed {
		response.Diagnostics.Append(response.State.SetAttribute(ctx, path.Root(name), value)...)
	}
}

func (r *rented) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (r *rented) Update(_ context.Context, request resource.UpdateRequest, response *resource.UpdateResponse) {
	response.State.Raw = request.Plan.Raw
}

func (r *rented) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
