//! CustomResourceDefinition: what a custom kind is called and looks like.

use schemars::JsonSchema;

use crate::scalar::Opaque;

/// Says what a custom kind is called, in which versions it is served, and what its objects look like. Those of the kinds that
/// are served here follow from the program: they are read, and not written.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourceDefinition {
    /// What the kind is.
    pub spec: Option<DefinitionSpec>,
    /// Whether it is served.
    pub status: Option<DefinitionStatus>,
}

/// What a custom kind is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceDefinitionSpec")]
pub struct DefinitionSpec {
    /// API group of the kind.
    pub group: Option<String>,
    /// What it is called.
    pub names: Option<DefinitionNames>,
    /// Namespaced or Cluster: whether its objects have a namespace.
    pub scope: Option<String>,
    /// The versions, the preferred one first.
    pub versions: Option<Vec<DefinitionVersion>>,
    /// How objects get from one version to another; `None` where only `apiVersion` differs.
    pub conversion: Option<Conversion>,
    /// Whether fields that no schema knows are kept.
    pub preserve_unknown_fields: Option<bool>,
}

/// What a custom kind is called.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceDefinitionNames")]
pub struct DefinitionNames {
    /// The kind.
    pub kind: Option<String>,
    /// The kind of its lists.
    pub list_kind: Option<String>,
    /// Plural, as in the URL.
    pub plural: Option<String>,
    /// Singular.
    pub singular: Option<String>,
    /// Short names.
    pub short_names: Option<Vec<String>>,
    /// Words for several kinds at once.
    pub categories: Option<Vec<String>>,
}

/// A version of a custom kind.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceDefinitionVersion")]
pub struct DefinitionVersion {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is served.
    pub served: Option<bool>,
    /// Whether objects are stored in it.
    pub storage: Option<bool>,
    /// Whether it should not be used any more.
    pub deprecated: Option<bool>,
    /// What is said to whoever uses it then.
    pub deprecation_warning: Option<String>,
    /// What objects look like.
    pub schema: Option<DefinitionSchema>,
    /// Parts of objects that have paths of their own.
    pub subresources: Option<Opaque>,
    /// The columns of tables.
    pub additional_printer_columns: Option<Vec<PrinterColumn>>,
    /// Fields that objects can be selected by.
    pub selectable_fields: Option<Vec<Opaque>>,
}

/// What objects look like.
#[derive(JsonSchema)]
#[schemars(rename = "CustomResourceValidation")]
pub struct DefinitionSchema {
    /// As a schema of OpenAPI v3.
    #[serde(rename = "openAPIV3Schema")]
    pub open_api_v3_schema: Option<Opaque>,
}

/// A column of a table.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceColumnDefinition")]
pub struct PrinterColumn {
    /// Its head.
    pub name: Option<String>,
    /// Type of its cells.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Format of its cells.
    pub format: Option<String>,
    /// What it shows.
    pub description: Option<String>,
    /// 0 for columns of every table, more for those of wide ones.
    pub priority: Option<i32>,
    /// Where in an object the cell is.
    pub json_path: Option<String>,
}

/// How objects get from one version to another.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceConversion")]
pub struct Conversion {
    /// None or Webhook.
    pub strategy: Option<String>,
    /// Who converts, for Webhook.
    pub webhook: Option<Opaque>,
}

/// Whether a custom kind is served.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CustomResourceDefinitionStatus")]
pub struct DefinitionStatus {
    /// The names that it has got.
    pub accepted_names: Option<DefinitionNames>,
    /// The versions that objects have ever been stored in.
    pub stored_versions: Option<Vec<String>>,
    /// NamesAccepted, and Established once it is served.
    pub conditions: Option<Vec<Opaque>>,
}
