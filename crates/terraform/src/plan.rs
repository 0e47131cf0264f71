//! What a plan would change, read from Terraform's JSON.

use std::fmt;
use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The address of a resource, such as `module.database[0].aws_db_instance.this`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// An address as Terraform writes it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed where it stands.
    Update,
    /// It is destroyed and made anew, in either order.
    Replace,
    /// It is destroyed.
    Delete,
    /// It is left alone from now on, and Terraform knows it no longer.
    Forget,
}

/// One resource that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which resource.
    pub address: Address,
    /// Its type, such as `aws_db_instance`.
    pub kind: String,
    /// What happens to it.
    pub action: Action,
    /// Why, and because of which attributes, as far as Terraform says. Names only, never values.
    pub reasons: Vec<String>,
    /// Whether it holds a secret (an SSM parameter of type SecureString).
    pub secret: bool,
}

/// What a plan would change. Holds names, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What is made.
    pub create: Vec<Change>,
    /// What is changed where it stands.
    pub update: Vec<Change>,
    /// What is destroyed and made anew.
    pub replace: Vec<Change>,
    /// What is destroyed.
    pub delete: Vec<Change>,
    /// What Terraform will know no longer.
    pub forget: Vec<Change>,
    /// The outputs that change.
    pub outputs: Vec<String>,
    /// How many updates change nothing but null into empty: left out above.
    pub noise: usize,
}

impl Summary {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none() && self.outputs.is_empty()
    }

    /// All resources that change, the destructive changes first.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        [&self.delete, &self.replace, &self.forget, &self.update, &self.create]
            .into_iter()
            .flatten()
    }

    /// In one line, such as `2 to create, 1 to replace`.
    pub fn headline(&self) -> String {
        let counts = [
            (self.create.len(), "to create"),
            (self.update.len(), "to update"),
            (self.replace.len(), "to replace"),
            (self.delete.len(), "to delete"),
            (self.forget.len(), "to forget"),
            (self.outputs.len(), "outputs to change"),
        ];
        let said: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if said.is_empty() { "nothing to change".to_owned() } else { said.join(", ") }
    }

    /// Reads what `terraform show -json` prints, as it comes. Values are looked at one resource at a time and dropped.
    pub(crate) fn read(json: impl Read) -> Result<Self, serde_json::Error> {
        let plan: RawPlan = serde_json::from_reader(json)?;
        let mut summary = Self::default();
        for resource in plan.resource_changes {
            match resource {
                Seen::Nothing => {}
                Seen::Noise => summary.noise += 1,
                Seen::Change(change) => summary.list(change.action).push(change),
            }
        }
        summary.outputs =
            plan.output_changes.into_iter().filter(|(_, o)| o.changes()).map(|(n, _)| n).collect();
        for list in [
            &mut summary.create,
            &mut summary.update,
            &mut summary.replace,
            &mut summary.delete,
            &mut summary.forget,
        ] {
            list.sort_by(|a, b| a.address.cmp(&b.address));
        }
        summary.outputs.sort();
        Ok(summary)
    }

    fn list(&mut self, action: Action) -> &mut Vec<Change> {
        match action {
            Action::Create => &mut self.create,
            Action::Update => &mut self.update,
            Action::Replace => &mut self.replace,
            Action::Delete => &mut self.delete,
            Action::Forget => &mut self.forget,
        }
    }
}

/// One line for each change, as a diff that forges colour: `+` create, `!` update or replace, `-` delete.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for change in self.changes() {
            let (sign, word) = match change.action {
                Action::Delete => ('-', "delete"),
                Action::Replace => ('!', "replace"),
                Action::Forget => ('!', "forget"),
                Action::Update => ('!', "update"),
                Action::Create => ('+', "create"),
            };
            write!(f, "{sign} {word:<7} {}", change.address)?;
            if change.reasons.is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, "  ({})", change.reasons.join(", "))?;
            }
        }
        for output in &self.outputs {
            writeln!(f, "! output  {output}")?;
        }
        if self.noise > 0 {
            writeln!(f, "{} updates that change only null into empty are not listed", self.noise)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawPlan {
    #[serde(default)]
    resource_changes: Vec<Seen>,
    #[serde(default)]
    output_changes: std::collections::BTreeMap<String, RawOutput>,
}

#[derive(Deserialize)]
struct RawOutput {
    actions: Vec<String>,
}

impl RawOutput {
    fn changes(&self) -> bool {
        self.actions.iter().any(|action| action != "no-op")
    }
}

/// What one entry of `resource_changes` comes to. Made from the entry while it is read, so that its values are gone
/// before the next is read.
#[derive(Deserialize)]
#[serde(from = "RawResource")]
enum Seen {
    Nothing,
    Noise,
    Change(Change),
}

#[derive(Deserialize)]
struct RawResource {
    address: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    deposed: Option<String>,
    #[serde(default)]
    action_reason: Option<String>,
    change: RawChange,
}

#[derive(Deserialize)]
struct RawChange {
    actions: Vec<String>,
    #[serde(default)]
    before: Value,
    #[serde(default)]
    after: Value,
    #[serde(default)]
    after_unknown: Value,
    #[serde(default)]
    replace_paths: Vec<Vec<Value>>,
}

impl From<RawResource> for Seen {
    fn from(resource: RawResource) -> Self {
        let change = &resource.change;
        let actions: Vec<&str> = change.actions.iter().map(String::as_str).collect();
        let action = match actions.as_slice() {
            ["create"] => Action::Create,
            ["update"] if is_noise(change) => return Self::Noise,
            ["update"] => Action::Update,
            ["delete"] => Action::Delete,
            ["forget"] => Action::Forget,
            ["no-op" | "read"] | [] => return Self::Nothing,
            // `delete, create`, `create, delete`, `create, forget`, and whatever comes later: the careful reading.
            _ => Action::Replace,
        };
        let secret =
            [&change.before, &change.after].into_iter().any(|v| v["type"] == "SecureString");
        Self::Change(Change {
            reasons: reasons(&resource, action),
            address: Address(resource.address),
            kind: resource.kind,
            action,
            secret,
        })
    }
}

fn reasons(resource: &RawResource, action: Action) -> Vec<String> {
    let mut reasons: Vec<String> =
        resource.change.replace_paths.iter().map(|path| path_text(path)).collect();
    if action == Action::Update {
        reasons.extend(changed_attributes(&resource.change));
    }
    let said = resource
        .action_reason
        .as_deref()
        .filter(|reason| *reason != "replace_because_cannot_update");
    reasons.extend(said.map(|reason| reason.replace('_', " ")));
    reasons.extend(
        resource.deposed.as_ref().map(|_| "left over from an earlier replacement".to_owned()),
    );
    reasons
}

fn path_text(path: &[Value]) -> String {
    let parts: Vec<_> = path
        .iter()
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    parts.join(".")
}

fn changed_attributes(change: &RawChange) -> Vec<String> {
    let (Some(before), Some(after)) = (change.before.as_object(), change.after.as_object()) else {
        return Vec::new();
    };
    let unknown = change.after_unknown.as_object();
    let unknown = unknown
        .into_iter()
        .flatten()
        .filter(|(_, value)| is_unknown(value))
        .map(|(name, _)| name.clone());
    let mut names: Vec<String> = after
        .iter()
        .filter(|(name, value)| !same(before.get(*name).unwrap_or(&Value::Null), value))
        .map(|(name, _)| name.clone())
        .chain(unknown)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// An update whose values differ only in how nothing is written: null, empty string, list or object.
fn is_noise(change: &RawChange) -> bool {
    !is_unknown(&change.after_unknown) && same(&change.before, &change.after)
}

fn is_unknown(value: &Value) -> bool {
    match value {
        Value::Bool(unknown) => *unknown,
        Value::Array(items) => items.iter().any(is_unknown),
        Value::Object(map) => map.values().any(is_unknown),
        _ => false,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let null = Value::Null;
            a.keys()
                .chain(b.keys())
                .all(|key| same(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b || (is_nothing(a) && is_nothing(b)),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        _ => false,
    }
}
