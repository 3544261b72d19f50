//! The endpoints of plug-ins in the document: those that an instance registered, with what it says of them.
//!
//! Start at [`add`]. What an instance says is not trusted: it describes its own endpoints and nothing else, names its
//! components by itself, and who may call is said by the host.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::runtime::EndpointView;

/// Adds an instance to the document. Gives a sentence for each thing that it said in vain.
pub(super) fn add(
    document: &mut Value,
    prefix: &str,
    name: &str,
    endpoints: &[EndpointView],
    mut said: Value,
) -> Vec<String> {
    let mut refused = Vec::new();
    if let Err(why) = check(&said) {
        refused.push(why);
        said = Value::Null;
    }
    rename(&mut said, name);
    let mut said_paths = match said.get_mut("paths").map(Value::take) {
        Some(Value::Object(paths)) => paths,
        _ => Map::new(),
    };
    let base = format!("/{prefix}/{name}");
    for endpoint in endpoints {
        let methods = said_paths.get_mut(&endpoint.path).and_then(Value::as_object_mut);
        let said = methods.and_then(|methods| methods.remove(&endpoint.method.to_lowercase()));
        let path = format!("{base}{}", shown(&endpoint.path));
        let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { continue };
        let Some(item) = paths.entry(path).or_insert_with(|| json!({})).as_object_mut() else { continue };
        if METHODS.contains(&endpoint.method.as_str()) {
            item.insert(endpoint.method.to_lowercase(), operation(name, endpoint, said));
        } else {
            item.insert("description".to_owned(), json!(format!("Also answers the method {}.", endpoint.method)));
        }
    }
    for (path, methods) in &said_paths {
        let left = methods.as_object().into_iter().flatten().map(|(method, _)| method);
        refused.extend(left.map(|method| format!("`{method} {path}` is no endpoint of the instance")));
    }
    let components = said.get_mut("components").map(Value::take);
    for (section, members) in components.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let Some(all) = document.get_mut("components").and_then(Value::as_object_mut) else { continue };
        let all = all.entry(section).or_insert_with(|| json!({}));
        if let (Some(all), Some(members)) = (all.as_object_mut(), members.as_object()) {
            all.extend(members.iter().map(|(member, value)| (format!("{name}.{member}"), value.clone())));
        }
    }
    refused
}

/// An endpoint: what the host knows of it, and what the instance says besides.
fn operation(instance: &str, endpoint: &EndpointView, said: Option<Value>) -> Value {
    let mut operation = match said {
        Some(Value::Object(said)) => said,
        _ => Map::new(),
    };
    let id: String =
        endpoint.path.chars().map(|found| if found.is_ascii_alphanumeric() { found } else { '_' }).collect();
    operation.insert("operationId".to_owned(), json!(format!("{instance}.{}{id}", endpoint.method.to_lowercase())));
    operation.insert("tags".to_owned(), json!([format!("plug-in {instance}")]));
    let by_session = json!([{"session": []}]);
    let (security, description) = match endpoint.auth.as_str() {
        "none" => (json!([]), None),
        "session" => (by_session, Some("Needs a session.".to_owned())),
        "client" => (json!([{"client": []}]), Some("Needs a client's credentials.".to_owned())),
        other => match other.strip_prefix("scope:") {
            Some(scope) => (by_session, Some(format!("Needs a session that satisfies the scope `{scope}`."))),
            None => (json!([{"session": []}, {"key": []}]), Some("For administrators.".to_owned())),
        },
    };
    operation.insert("security".to_owned(), security);
    if let Some(needs) = description {
        let more =
            operation.get("description").and_then(Value::as_str).map(|more| format!(" {more}")).unwrap_or_default();
        operation.insert("description".to_owned(), json!(format!("{needs}{more}")));
    }
    let parameters = names(&endpoint.path).map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
    );
    let mut parameters: Vec<Value> = parameters.collect();
    // What it says of those in the path counts instead.
    for said in operation.remove("parameters").as_ref().and_then(Value::as_array).into_iter().flatten() {
        parameters.retain(|known| known.get("name") != said.get("name") || said.get("in") != known.get("in"));
        parameters.push(said.clone());
    }
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    if responses.as_object().is_none_or(Map::is_empty) {
        *responses = json!({"default": {"description": "What the plug-in answers."}});
    }
    Value::Object(operation)
}

/// A path as OpenAPI has it: `{*rest}` is a parameter like others there.
fn shown(path: &str) -> String {
    if path == "/" { String::new() } else { path.replace("{*", "{") }
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0.trim_start_matches('*')))
}

/// Whether an instance says something that can stand in the document.
fn check(said: &Value) -> Result<(), String> {
    if said.is_null() {
        return Ok(());
    }
    let len = said.to_string().len();
    if len > BYTES_MAX {
        return Err(format!("it has {len} bytes, at most {BYTES_MAX} are shown"));
    }
    let object = said.as_object().ok_or("it is no object")?;
    for (name, member) in object {
        let known = match name.as_str() {
            "paths" => member.as_object().is_some_and(|paths| paths.values().all(is_path_item)),
            "components" => member.as_object().is_some_and(|sections| {
                sections.iter().all(|(name, members)| {
                    let names = members.as_object().map(|members| members.keys());
                    SECTIONS.contains(&name.as_str()) && names.is_some_and(|mut names| names.all(|name| is_name(name)))
                })
            }),
            _ => false,
        };
        if !known {
            return Err(format!(
                "`{name}` is not as expected: `paths` with methods that have objects, and `components`"
            ));
        }
    }
    let mut wrong = BTreeSet::new();
    references(said, &mut |reference| {
        let exists = reference.strip_prefix('#').is_some_and(|place| said.pointer(place).is_some());
        if !exists || !reference.starts_with("#/components/") {
            wrong.insert(reference.to_owned());
        }
    });
    match wrong.first() {
        Some(wrong) => Err(format!("it refers to `{wrong}`, which is none of its components")),
        None => Ok(()),
    }
}

fn is_path_item(item: &Value) -> bool {
    item.as_object().is_some_and(|methods| {
        methods.iter().all(|(method, operation)| {
            METHODS.iter().any(|known| known.eq_ignore_ascii_case(method)) && operation.is_object()
        })
    })
}

/// The names that components may have (OpenAPI 3.1, section 4.8.7).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn references(value: &Value, told: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                told(reference);
            }
            members.values().for_each(|member| references(member, told));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, told)),
        _ => {}
    }
}

/// Lets every reference lead to the instance's own components.
fn rename(value: &mut Value, instance: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place =
                    member.as_str().filter(|_| name == "$ref").and_then(|path| path.strip_prefix("#/components/"));
                if let Some((section, rest)) = place.and_then(|place| place.split_once('/')) {
                    *member = json!(format!("#/components/{section}/{instance}.{rest}"));
                } else {
                    rename(member, instance);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, instance)),
        _ => {}
    }
}

const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];
const SECTIONS: [&str; 6] = ["schemas", "responses", "parameters", "examples", "requestBodies", "headers"];
const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Vec<EndpointView> {
        let endpoint = |method: &str, path: &str, auth: &str| EndpointView {
            method: method.into(),
            path: path.into(),
            auth: auth.into(),
        };
        vec![
            endpoint("GET", "/a/{id}", "admin"),
            endpoint("*", "/any/{*rest}", "none"),
            endpoint("POST", "/", "client"),
        ]
    }

    fn added(said: Value) -> (Value, Vec<String>) {
        let mut document = json!({"paths": {}, "components": {"schemas": {"A": {"type": "null"}}}});
        let refused = add(&mut document, "api", "x", &endpoints(), said);
        (document, refused)
    }

    #[test]
    fn endpoints_are_there_whatever_is_said() {
        for said in [
            Value::Null,
            json!([]),
            json!({"paths": 1}),
            json!({"openapi": "3.1.0"}),
            json!({"paths": {"/a/{id}": {"get": 1}}}),
        ] {
            let (document, refused) = added(said.clone());
            assert_eq!(refused.len(), usize::from(!said.is_null()), "{said}: {refused:?}");
            let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
            assert_eq!(paths, ["/api/x", "/api/x/a/{id}", "/api/x/any/{rest}"]);
            let get = &document["paths"]["/api/x/a/{id}"]["get"];
            assert_eq!((&get["parameters"][0]["name"], &get["operationId"]), (&json!("id"), &json!("x.get_a__id_")));
            assert_eq!(document["paths"]["/api/x"]["post"]["security"], json!([{"client": []}]));
        }
    }

    #[test]
    fn what_is_said_is_merged_under_names_of_its_own() {
        let (document, refused) = added(json!({
            "paths": {
                "/a/{id}": {"get": {
                    "summary": "An A", "security": [], "tags": ["users"], "operationId": "get_user",
                    "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
                    "responses": {"200": {"description": "A", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}},
                }},
                "/b": {"get": {}},
            },
            "components": {"schemas": {"A": {"items": {"$ref": "#/components/schemas/A"}}}},
        }));
        assert_eq!(refused, ["`get /b` is no endpoint of the instance"]);
        let get = &document["paths"]["/api/x/a/{id}"]["get"];
        assert_eq!((&get["summary"], &get["tags"]), (&json!("An A"), &json!(["plug-in x"])));
        assert_eq!(get["security"], json!([{"session": []}, {"key": []}]));
        assert_eq!(get["parameters"].as_array().unwrap().len(), 1);
        let schema = &get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(schema, "#/components/schemas/x.A");
        assert_eq!(document["components"]["schemas"]["x.A"]["items"]["$ref"], "#/components/schemas/x.A");
        assert_eq!(document["components"]["schemas"]["A"], json!({"type": "null"}));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for reference in ["https://example.org/x", "#/components/schemas/No", "#/paths", "x.json"] {
            let (document, refused) = added(json!({"components": {"schemas": {"A": {"$ref": reference}}}}));
            assert_eq!(refused, [format!("it refers to `{reference}`, which is none of its components")]);
            assert!(document["components"]["schemas"].get("x.A").is_none());
        }
        for bad in [json!({"components": {"securitySchemes": {}}}), json!({"components": {"schemas": {"a/b": {}}}})] {
            assert_eq!(added(bad).1.len(), 1);
        }
        assert_eq!(added(json!({"components": {"schemas": {"A": "x".repeat(BYTES_MAX)}}})).1.len(), 1);
    }
}
