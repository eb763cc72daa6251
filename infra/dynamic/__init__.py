"""Resources that no provider offers, as Pulumi dynamic providers."""
