//! Keeping known secrets out of text that running tasks wrote: it is shown on terminals and kept in the ledger.

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::{FleetDatabases, NamedCheck, Notification, SecretSource};
use crate::{Environment, SecretStore, redact, secret};

/// Shorter values are no secrets, and masking them would leave nothing to read.
const SHORTEST: usize = 4;
/// Shorter parts of a secret of several lines are in every text.
const SHORTEST_LINE: usize = 8;

/// Known secrets, which it takes out of text.
#[derive(Debug, Default)]
pub struct Mask {
    /// The longest first: what holds another one goes as a whole.
    values: Vec<SecretString>,
}

impl Mask {
    /// Masks these secrets, their lines, and where one is a URL its password alone, too.
    pub fn of(secrets: &[SecretString]) -> Self {
        let mut texts: Vec<String> =
            secrets.iter().flat_map(|secret| forms(secret.expose_secret())).collect();
        texts.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        texts.dedup();
        Self { values: texts.into_iter().map(SecretString::from).collect() }
    }

    /// A line without the known secrets, without those that can be told by their form, and without control characters, of at most
    /// `longest` characters.
    pub fn line(&self, text: &str, longest: usize) -> String {
        let mut shown = text.to_owned();
        for value in &self.values {
            shown = shown.replace(value.expose_secret(), redact::MASK);
        }
        let shown = redact::clean(&shown);
        match shown.char_indices().nth(longest) {
            None => shown,
            Some((at, _)) => format!("{}…", &shown[..at]),
        }
    }
}

/// The ways in which a secret may stand in a text.
fn forms(secret: &str) -> Vec<String> {
    let secret = secret.trim();
    let mut forms = vec![secret.to_owned()];
    forms.extend(
        secret.lines().map(str::trim).filter(|l| l.len() >= SHORTEST_LINE).map(str::to_owned),
    );
    if let Some(password) = Url::parse(secret).ok().as_ref().and_then(Url::password) {
        forms.push(password.to_owned());
        forms.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
    }
    // As it stands in JSON, and in texts that quote it like Rust and many others.
    let quoted: Vec<String> = forms
        .iter()
        .map(|form| serde_json::Value::from(form.as_str()).to_string())
        .map(|quoted| quoted.trim_matches('"').to_owned())
        .collect();
    forms.extend(quoted);
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Knows secrets.
#[async_trait]
pub trait KnownSecrets: Send + Sync {
    /// Their values, as far as they can be had now.
    async fn values(&self) -> Vec<SecretString>;
}

/// The secrets that an environment's files name: the URLs of its database, of its fleet's, of its ledger, where notifications go, and what
/// checks send.
pub struct EnvironmentSecrets<S> {
    sources: Vec<SecretSource>,
    paths: Vec<String>,
    root: std::path::PathBuf,
    store: S,
}

impl<S: SecretStore> EnvironmentSecrets<S> {
    /// Nothing is read yet.
    pub fn new(environment: &Environment, store: S) -> Self {
        let config = &environment.config;
        let mut sources: Vec<SecretSource> = config
            .notifications
            .iter()
            .map(|Notification::Slack { url, .. }| url.clone())
            .collect();
        sources.extend(config.ledger.url.clone());
        let checks = config.services.values().flat_map(|service| service.rollout.checks.values());
        sources.extend(checks.flat_map(NamedCheck::secrets).cloned());
        let mut paths = Vec::new();
        if let Some(database) = &config.database {
            sources.push(database.url.clone());
            if let Some(FleetDatabases::Ssm { path }) =
                database.fleet.as_ref().map(|fleet| &fleet.databases)
            {
                paths.push(path.clone());
            }
        }
        Self { sources, paths, root: environment.root().to_owned(), store }
    }
}

#[async_trait]
impl<S: SecretStore> KnownSecrets for EnvironmentSecrets<S> {
    /// What cannot be read is not known, and cannot be masked but by its form.
    async fn values(&self) -> Vec<SecretString> {
        let mut values = Vec::new();
        for source in &self.sources {
            values.extend(secret(source, &self.root, &self.store).await.ok());
        }
        for path in &self.paths {
            let found = self.store.parameters(path).await.unwrap_or_default();
            values.extend(found.into_iter().map(|(_, value)| value));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let secrets: Vec<SecretString> =
            secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        Mask::of(&secrets)
    }

    #[test]
    fn a_secret_is_masked_in_each_of_its_forms() {
        let mask = mask(&[
            "postgres://shop:h%40sh-hush@db/shop",
            "line one of a key\nline two of a key",
            "q\"uote",
        ]);
        for (text, shown) in [
            ("connecting to postgres://shop:h%40sh-hush@db/shop", "connecting to [redacted]"),
            (
                "by way of postgres://shop:h%40sh-hush@127.0.0.1:9/shop",
                "by way of postgres://shop:[redacted]@127.0.0.1:9/shop",
            ),
            ("password h@sh-hush is wrong", "password [redacted] is wrong"),
            ("the key: line two of a key.", "the key: [redacted]."),
            (r#"{"password":"q\"uote"}"#, r#"{"password":"[redacted]"}"#),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(mask.line(text, 200), shown);
        }
    }

    #[test]
    fn control_characters_and_length_are_tamed() {
        let mask = mask(&["abc"]);
        assert_eq!(
            mask.line("\u{1b}[2Jabc\tdef", 200),
            "?[2Jabc def",
            "three letters are no secret"
        );
        assert_eq!(mask.line("äöüß", 3), "äöü…");
        assert_eq!(Mask::default().line("postgres://a:b@c/d", 200), "postgres://a:[redacted]@c/d");
    }
}
