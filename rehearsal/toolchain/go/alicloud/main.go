// Command pulumi-resource-alicloud serves the part of Pulumi's alicloud provider that this project
// uses. It exists because Pulumi's own provider can only be downloaded as a binary; where that
// download is closed, the same Terraform provider is bridged here from Go modules.
//
// resources.json names every resource and data source that is kept, with its Pulumi token. A name
// which the Terraform provider does not have stops the program at once. `-dump-schema` prints what
// each of them looks like to Pulumi, for the test that compares it with the Python SDK.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
)

// parentPoll is how often a plugin looks whether its engine still runs. The engine is asked over
// gRPC only every five minutes, and a plugin that outlives a killed engine holds 300 MB that long.
const parentPoll = time.Second

func main() {
	table, err := readTable()
	if err != nil {
		fail(err)
	}
	info, err := newProviderInfo(table)
	if err != nil {
		fail(err)
	}
	if len(os.Args) == 2 && os.Args[1] == "-dump-schema" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(describe(info)); err != nil {
			fail(err)
		}
		return
	}
	go exitWithParent(os.Getppid())
	// The engine only needs to know whose schema this is: programs carry their types in the SDK.
	schema, err := json.Marshal(map[string]string{"name": table.Provider, "version": table.Version})
	if err != nil {
		fail(err)
	}
	tfbridge.Main(table.Provider, table.Version, info, schema)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-alicloud:", err)
	os.Exit(1)
}

// exitWithParent ends this process once the engine that started it is gone.
func exitWithParent(parent int) {
	for os.Getppid() == parent {
		time.Sleep(parentPoll)
	}
	os.Exit(0)
}
