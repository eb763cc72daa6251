//go:build tools

// Package tools only names the program to build: pulumi's own go.mod has replace lines, so
// `go install` refuses it, while a module that requires it can build it.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
