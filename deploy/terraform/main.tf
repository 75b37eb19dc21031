# A gateway on a rented machine, here of Hetzner; with another provider only this file is another. What makes a gateway of the
# machine is user-data.yaml, which every provider takes.
#
#   export HCLOUD_TOKEN=…
#   terraform init && terraform apply -var package_url=https://example.org/rookery_1.2.3_amd64.deb -var package_sha256=…

terraform {
  required_version = ">= 1.5"
  required_providers {
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = "~> 1.45"
    }
  }
}

variable "package_url" {
  description = "Where the machine gets the package of its architecture."
  type        = string
}

variable "package_sha256" {
  description = "Its line in SHA256SUMS."
  type        = string
}

variable "ssh_keys" {
  description = "Names of keys that may log in."
  type        = list(string)
  default     = []
}

variable "connections" {
  description = "Most connections at once, which the kernel's limits are set for."
  type        = number
  default     = 50000
}

variable "server_type" {
  description = "What is rented; the provider ends its types after some years. The package is of the architecture of this one."
  type        = string
  default     = "cx23"
}

resource "hcloud_firewall" "rookery" {
  name = "rookery"
  dynamic "rule" {
    for_each = ["22", "8080", "8443"]
    content {
      direction  = "in"
      protocol   = "tcp"
      port       = rule.value
      source_ips = ["0.0.0.0/0", "::/0"]
    }
  }
}

resource "hcloud_server" "rookery" {
  name         = "rookery"
  server_type  = var.server_type
  image        = "debian-12"
  ssh_keys     = var.ssh_keys
  firewall_ids = [hcloud_firewall.rookery.id]
  user_data = templatefile("${path.module}/user-data.yaml", {
    package_url    = var.package_url
    package_sha256 = var.package_sha256
    connections    = var.connections
  })
}

output "url" {
  value = "http://${hcloud_server.rookery.ipv4_address}:8080/"
}
