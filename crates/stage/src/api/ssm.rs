//! SSM Parameter Store.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::At;
use super::input::{flag, page, size, text, texts};
use crate::refusal::Refusal;
use crate::state::Parameter;
use crate::world::{Inner, World};

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Json, Refusal> {
    match operation {
        "PutParameter" => put(world, input),
        "DeleteParameter" => delete(world, input),
        "GetParameter" => get(&world.view(), input),
        "GetParameters" => Ok(get_all(&world.view(), input)),
        "GetParametersByPath" => by_path(&world.view(), input),
        _ => Err(super::unknown(&format!("ssm:{operation}"), super::Protocol::Json)),
    }
}

fn name(input: &Json) -> Result<&str, Refusal> {
    text(input, "Name").ok_or_else(|| Refusal::new("ValidationException", "Name is missing"))
}

fn not_found() -> Refusal {
    Refusal::new("ParameterNotFound", "")
}

fn put(world: &World, input: &Json) -> Result<Json, Refusal> {
    let name = name(input)?.to_owned();
    let value = text(input, "Value");
    let value = value.ok_or_else(|| Refusal::new("ValidationException", "Value is missing"))?;
    world.change(|inner| {
        let before = inner.state.parameters.get(&name);
        if before.is_some() && !flag(input, "Overwrite") {
            let message = "The parameter already exists. To overwrite this value, set the overwrite option in the \
                           request to true.";
            return Err(Refusal::new("ParameterAlreadyExists", message));
        }
        let version = before.map_or(1, |before| before.version + 1);
        let secure = match text(input, "Type") {
            Some(kind) => kind == "SecureString",
            None => before.is_some_and(|before| before.secure),
        };
        let parameter =
            Parameter { value: value.to_owned(), secure, version, modified_at: Timestamp::now() };
        inner.state.parameters.insert(name.clone(), parameter);
        Ok(json!({ "Version": version, "Tier": "Standard" }))
    })
}

fn delete(world: &World, input: &Json) -> Result<Json, Refusal> {
    let name = name(input)?;
    world.change(|inner| {
        inner.state.parameters.remove(name).map(|_| json!({})).ok_or_else(not_found)
    })
}

fn describe(inner: &Inner, name: &str, decrypt: bool) -> Option<Json> {
    let parameter = inner.state.parameters.get(name)?;
    let kind = if parameter.secure { "SecureString" } else { "String" };
    // What AWS gives without decryption is the ciphertext: of no use, and of no length that tells anything.
    let value =
        if parameter.secure && !decrypt { "AQICAHstageciphertext" } else { &parameter.value };
    Some(json!({
        "Name": name,
        "Type": kind,
        "Value": value,
        "Version": parameter.version,
        "LastModifiedDate": inner.seconds(parameter.modified_at),
        "ARN": inner.topology().map(|topology| topology.parameter_arn(name)),
        "DataType": "text",
    }))
}

fn get(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let found = describe(inner, name(input)?, flag(input, "WithDecryption"));
    found.map(|parameter| json!({ "Parameter": parameter })).ok_or_else(not_found)
}

fn get_all(inner: &Inner, input: &Json) -> Json {
    let decrypt = flag(input, "WithDecryption");
    let names = texts(input, "Names");
    let found: Vec<Json> = names.iter().filter_map(|name| describe(inner, name, decrypt)).collect();
    let missing: Vec<&&str> =
        names.iter().filter(|name| !inner.state.parameters.contains_key(**name)).collect();
    json!({ "Parameters": found, "InvalidParameters": missing })
}

fn by_path(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let path = text(input, "Path").unwrap_or("/");
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let (decrypt, deep) = (flag(input, "WithDecryption"), flag(input, "Recursive"));
    let names =
        inner.state.parameters.keys().filter(|name| {
            name.strip_prefix(&prefix).is_some_and(|rest| deep || !rest.contains('/'))
        });
    let refuse = || Refusal::new("InvalidNextToken", "The specified token isn't valid.");
    let size = size(input, "MaxResults", 10);
    let (names, next) = page(names.collect(), text(input, "NextToken"), size, refuse)?;
    let found: Vec<Json> = names.iter().filter_map(|name| describe(inner, name, decrypt)).collect();
    let mut answer = json!({ "Parameters": found });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}
