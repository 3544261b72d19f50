//! What an instance says of its API: [`OpenApi`].

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::block_on::block_on;
use crate::hooks::{Extends, Extension, HookAnswer, HookError, answer};
use crate::module::Plugin;

/// Says more of an instance's endpoints than the host knows by itself, for the document and the page that integrators read.
///
/// For modules of kind `plugin`, exported with `export_plugin!(Shop: OpenApi)`. The host lists the endpoints of every
/// instance anyway, with their methods, parameters in the path, and who may call them. Operations that are no endpoint are
/// left out.
///
/// ```
/// use porth_plugin::prelude::*;
/// # #[derive(Deserialize, JsonSchema)]
/// # struct Parameters {}
/// /// What there is to buy.
/// #[derive(Serialize, JsonSchema)]
/// struct Item {
///     name: String,
///     price: u32,
/// }
/// # struct Shop;
/// # impl Plugin for Shop {
/// #     const MODULE: Module = Module::new("shop", "Shop", "Sells");
/// #     type Parameters = Parameters;
/// #     async fn init(_: Host<Self>, _: Parameters) -> Result<Self, InitError> {
/// #         Ok(Self)
/// #     }
/// # }
///
/// impl OpenApi for Shop {
///     async fn openapi(&self) -> Result<ApiDocument, HookError> {
///         let mut api = ApiDocument::new();
///         api.operation("get", "/item/{name}", "An item").answers::<Item>(200).says(404, "There is none");
///         api.operation("put", "/item/{name}", "Adds or replaces an item").takes::<Item>().says(204, "Done");
///         Ok(api)
///     }
/// }
/// ```
pub trait OpenApi: Plugin {
    /// The API of this instance. Asked on a thread of the instance's own, once somebody looks; the answer counts until the
    /// instance is started anew.
    ///
    /// # Errors
    /// Count as calls that failed; the host's own list is shown then, and it asks again after a minute.
    fn openapi(&self) -> impl Future<Output = Result<ApiDocument, HookError>> + Send;
}

/// A part of an OpenAPI 3.1 document: operations on paths below the instance's prefix, and schemas.
#[derive(Debug)]
pub struct ApiDocument {
    paths: Map<String, Value>,
    generator: SchemaGenerator,
}

impl Default for ApiDocument {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiDocument {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { paths: Map::new(), generator: SchemaGenerator::new(settings) }
    }

    /// Describes an endpoint, by its method and path as they were registered.
    pub fn operation(&mut self, method: &str, path: &str, summary: &str) -> ApiOperation<'_> {
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        if !methods.is_object() {
            *methods = json!({});
        }
        let operation = match methods {
            Value::Object(methods) => methods.entry(method.to_lowercase()).or_insert(Value::Null),
            other => other,
        };
        *operation = json!({"summary": summary, "responses": {}});
        ApiOperation { operation, generator: &mut self.generator }
    }

    /// As it crosses the border.
    fn into_value(mut self) -> Value {
        let schemas = self.generator.take_definitions(true);
        json!({"paths": self.paths, "components": {"schemas": schemas}})
    }
}

/// An operation being described.
#[derive(Debug)]
pub struct ApiOperation<'a> {
    operation: &'a mut Value,
    generator: &'a mut SchemaGenerator,
}

impl ApiOperation<'_> {
    /// More than the summary, in CommonMark.
    pub fn description(self, text: &str) -> Self {
        self.set("description", json!(text))
    }

    /// A parameter in the query.
    pub fn query<T: JsonSchema>(self, name: &str, description: &str) -> Self {
        self.parameter::<T>("query", name, description)
    }

    /// A header field that means something here. Not `Accept`, `Content-Type` and `Authorization`: those are said otherwise.
    pub fn header<T: JsonSchema>(self, name: &str, description: &str) -> Self {
        self.parameter::<T>("header", name, description)
    }

    fn parameter<T: JsonSchema>(self, place: &str, name: &str, description: &str) -> Self {
        let schema = self.generator.subschema_for::<T>();
        let parameter = json!({"name": name, "in": place, "description": description, "schema": schema});
        let mut parameters = self.operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        parameters.push(parameter);
        self.set("parameters", parameters.into())
    }

    /// A body of JSON, which must be there.
    pub fn takes<T: JsonSchema>(self) -> Self {
        let schema = self.generator.subschema_for::<T>();
        self.set("requestBody", json!({"required": true, "content": {"application/json": {"schema": schema}}}))
    }

    /// An answer of JSON.
    pub fn answers<T: JsonSchema>(self, status: u16) -> Self {
        let schema = self.generator.subschema_for::<T>();
        let content = json!({"application/json": {"schema": schema}});
        self.response(status, json!({"description": "Here it is.", "content": content}))
    }

    /// An answer of which a sentence is all there is to say.
    pub fn says(self, status: u16, description: &str) -> Self {
        self.response(status, json!({ "description": description }))
    }

    fn response(self, status: u16, response: Value) -> Self {
        if let Some(responses) = self.operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.insert(status.to_string(), response);
        }
        self
    }

    fn set(self, name: &str, value: Value) -> Self {
        if let Some(members) = self.operation.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        self
    }
}

/// Stands for [`OpenApi`] in `export_plugin!`.
#[derive(Debug)]
pub enum OpenApiHooks {}

impl<P: OpenApi> Extends<P> for OpenApiHooks {
    const EXTENSION: Extension = Extension::OpenApi;

    fn call(plugin: &P, hook: usize, _: &[u8]) -> HookAnswer {
        match hook {
            0 => answer(block_on(plugin.openapi()).map(ApiDocument::into_value)),
            _ => Err(HookError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_what_was_said() {
        let mut api = ApiDocument::new();
        let get = api.operation("GET", "/a", "A").query::<u8>("n", "N").header::<String>("s", "S");
        get.answers::<Vec<String>>(200);
        api.operation("post", "/a", "B").description("More").takes::<bool>().says(204, "Done");
        let document = api.into_value();
        let parameters = document["paths"]["/a"]["get"]["parameters"].as_array().unwrap();
        assert_eq!(
            (&parameters[0]["in"], &parameters[1]["in"], parameters.len()),
            (&json!("query"), &json!("header"), 2)
        );
        assert_eq!(
            document["paths"]["/a"]["post"],
            json!({
                "summary": "B", "description": "More", "responses": {"204": {"description": "Done"}},
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "boolean"}}}},
            })
        );
    }
}
