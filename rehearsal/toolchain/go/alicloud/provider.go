package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/aliyun/terraform-provider-alicloud/alicloud"
	"github.com/hashicorp/terraform-plugin-sdk/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv1 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v1"
)

//go:embed resources.json
var tableJSON []byte

// table is resources.json: which parts of the Terraform provider exist here, and as what.
type table struct {
	Provider    string           `json:"provider"`
	Version     string           `json:"version"`
	Resources   map[string]entry `json:"resources"`
	DataSources map[string]entry `json:"data_sources"`
}

// entry gives a Terraform type its place among Pulumi's names.
type entry struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	// MaxItemsOne lists top-level properties which the Python SDK has as one object, although the
	// Terraform schema allows several: pulumi-alicloud fixes those in the "auto-settings" of its
	// bridge-metadata.json so that a widened schema does not break programs. Without them the
	// program stops with "Unexpected type" when the resource has just been created.
	MaxItemsOne []string `json:"max_items_one"`
}

func readTable() (table, error) {
	decoder := json.NewDecoder(bytes.NewReader(tableJSON))
	decoder.DisallowUnknownFields()
	var t table
	if err := decoder.Decode(&t); err != nil {
		return table{}, fmt.Errorf("resources.json: %w", err)
	}
	return t, nil
}

// newProviderInfo bridges the named part of the Terraform provider.
func newProviderInfo(t table) (tfbridge.ProviderInfo, error) {
	terraform, ok := alicloud.Provider().(*schema.Provider)
	if !ok {
		return tfbridge.ProviderInfo{}, fmt.Errorf("the alicloud provider is not one of terraform-plugin-sdk v1")
	}
	if err := keepOnly(terraform.ResourcesMap, t.Resources, "resource"); err != nil {
		return tfbridge.ProviderInfo{}, err
	}
	if err := keepOnly(terraform.DataSourcesMap, t.DataSources, "data source"); err != nil {
		return tfbridge.ProviderInfo{}, err
	}
	info := tfbridge.ProviderInfo{
		P:           shimv1.NewProvider(terraform),
		Name:        t.Provider,
		Version:     t.Version,
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
	}
	for name, e := range t.Resources {
		fields := map[string]*tfbridge.SchemaInfo{}
		for _, property := range e.MaxItemsOne {
			if _, ok := terraform.ResourcesMap[name].Schema[property]; !ok {
				return tfbridge.ProviderInfo{}, fmt.Errorf(
					"resources.json: %s has no property %q to treat as a single item", name, property)
			}
			fields[property] = &tfbridge.SchemaInfo{MaxItemsOne: tfbridge.True()}
		}
		info.Resources[name] = &tfbridge.ResourceInfo{
			Tok:    tfbridge.MakeResource(t.Provider, e.Module, e.Name),
			Fields: fields,
		}
	}
	for name, e := range t.DataSources {
		info.DataSources[name] = &tfbridge.DataSourceInfo{
			Tok: tfbridge.MakeDataSource(t.Provider, e.Module, e.Name),
		}
	}
	// As in pulumi-alicloud: an unnamed resource gets a name derived from its Pulumi name.
	info.SetAutonaming(255, "-")
	return info, nil
}

// keepOnly drops everything that the table does not name, and refuses a name that does not exist.
func keepOnly(all map[string]*schema.Resource, wanted map[string]entry, kind string) error {
	for name := range wanted {
		if _, ok := all[name]; !ok {
			return fmt.Errorf("resources.json: the Terraform provider has no %s %q; "+
				"check the spelling against its documentation", kind, name)
		}
	}
	for name := range all {
		if _, ok := wanted[name]; !ok {
			delete(all, name)
		}
	}
	return nil
}
