//go:build tools

// Package helm names the program that is built here, so that go.mod keeps what it needs.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
