package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
)

// description is what `-dump-schema` prints, keyed by Pulumi token.
type description struct {
	Version   string              `json:"version"`
	Provider  map[string]property `json:"provider"`
	Resources map[string]member   `json:"resources"`
	Functions map[string]member   `json:"functions"`
}

// member is one resource or function; its properties are keyed by their Pulumi name.
type member struct {
	Terraform  string              `json:"terraform"`
	Properties map[string]property `json:"properties"`
}

// property says what a value is: Type is boolean, integer, number, string, array or object. An
// array has Items; an object has Properties, or Items where any key is allowed.
type property struct {
	Terraform  string              `json:"terraform,omitempty"`
	Type       string              `json:"type"`
	Required   bool                `json:"required,omitempty"`
	Optional   bool                `json:"optional,omitempty"`
	Computed   bool                `json:"computed,omitempty"`
	Secret     bool                `json:"secret,omitempty"`
	Items      *property           `json:"items,omitempty"`
	Properties map[string]property `json:"properties,omitempty"`
}

func describe(info tfbridge.ProviderInfo) description {
	d := description{
		Version:   info.Version,
		Provider:  properties(info.P.Schema(), info.Config),
		Resources: map[string]member{},
		Functions: map[string]member{},
	}
	for name, resource := range info.Resources {
		d.Resources[string(resource.Tok)] = member{
			Terraform:  name,
			Properties: properties(info.P.ResourcesMap().Get(name).Schema(), resource.Fields),
		}
	}
	for name, source := range info.DataSources {
		d.Functions[string(source.Tok)] = member{
			Terraform:  name,
			Properties: properties(info.P.DataSourcesMap().Get(name).Schema(), source.Fields),
		}
	}
	return d
}

func properties(schemas shim.SchemaMap, infos map[string]*tfbridge.SchemaInfo) map[string]property {
	result := map[string]property{}
	schemas.Range(func(name string, s shim.Schema) bool {
		// A removed property only carries the error message for those who still set it.
		if s.Removed() != "" {
			return true
		}
		p := value(s, tfbridge.IsMaxItemsOne(s, infos[name]))
		p.Terraform = name
		p.Required, p.Optional, p.Computed = s.Required(), s.Optional(), s.Computed()
		p.Secret = s.Sensitive()
		result[tfbridge.TerraformToPulumiNameV2(name, schemas, infos)] = p
		return true
	})
	return result
}

// value is the type of a property, without the flags which only a named property has. single says
// that Pulumi has one item where Terraform has a list of at most one.
func value(s shim.Schema, single bool) property {
	switch s.Type() {
	case shim.TypeBool:
		return property{Type: "boolean"}
	case shim.TypeInt:
		return property{Type: "integer"}
	case shim.TypeFloat:
		return property{Type: "number"}
	case shim.TypeMap:
		// Terraform forgets the names in a map's Elem; Pulumi makes an object with them.
		if block, ok := s.Elem().(shim.Resource); ok {
			return element(block)
		}
		return property{Type: "object", Items: &property{Type: "string"}}
	case shim.TypeList, shim.TypeSet:
		item := element(s.Elem())
		if single {
			return item
		}
		return property{Type: "array", Items: &item}
	default:
		return property{Type: "string"}
	}
}

func element(elem interface{}) property {
	switch e := elem.(type) {
	case shim.Resource:
		return property{Type: "object", Properties: properties(e.Schema(), nil)}
	case shim.Schema:
		return value(e, tfbridge.IsMaxItemsOne(e, nil))
	default:
		return property{Type: "string"}
	}
}
