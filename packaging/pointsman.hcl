# Pointsman's configuration. Everything that can stand here:
# https://github.com/pointsman/pointsman/blob/main/docs/configuration.md
#
# This is an example with addresses that nobody has (RFC 5737). Write your own in their
# place, then:
#
#   pointsman check                      says what is wrong with it, line by line
#   systemctl enable --now pointsman
#   pointsman status

interfaces = ["eth0"]           # where packets for the VIPs arrive
vip_pools  = ["192.0.2.0/24"]   # VIPs and nothing else

# Backends and their health from the local Consul agent:
#
# consul {
#   token_file = "/etc/pointsman/consul.token"
# }

service "web" {
  listen  = ["192.0.2.10:80/tcp"]
  forward = "ipip"              # the backends run: pointsman decap --vip 192.0.2.10

  # consul { service = "web" }  # instead of the backends below
  backend "198.51.100.11" {}
  backend "198.51.100.12" {}

  health "http" { path = "/healthz" }
}
