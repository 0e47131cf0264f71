//! SARIF 2.1.0, for code scanning.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::finding::{Finding, Severity};

/// The findings as a SARIF log. Files are named as seen from `working_directory`, where they lie below it.
pub fn sarif(findings: &[Finding], directory: &Path, working_directory: &Path) -> Value {
    let names: BTreeSet<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    let rules: Vec<Value> = names
        .iter()
        .map(|name| json!({ "id": name, "shortDescription": { "text": name.replace('-', " ") } }))
        .collect();
    let place = relative(directory, working_directory);
    let results: Vec<Value> =
        findings.iter().map(|finding| result(finding, &names, &place)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "liftlock migrate",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, rules: &BTreeSet<&str>, directory: &Path) -> Value {
    let level = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let help = finding.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
    let text = crate::text::printable(&finding.message) + &help;
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rules.iter().position(|rule| *rule == finding.rule),
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&directory.join(&finding.file)) },
            "region": { "startLine": finding.line.max(1), "startColumn": finding.column.max(1) },
        } }],
    })
}

/// `directory` as seen from `from`, if it lies below; else as it is.
fn relative(directory: &Path, from: &Path) -> PathBuf {
    let absolute = from.join(directory);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (directory, from) = (real(&absolute), real(from));
    directory.strip_prefix(&from).map(Path::to_owned).unwrap_or(directory)
}

/// A path as a URI: with `/`, and everything that has a meaning there escaped.
fn uri(path: &Path) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => {
            Some(utf8_percent_encode(&part.to_string_lossy(), KEPT).to_string())
        }
        _ => None,
    });
    let joined = parts.collect::<Vec<_>>().join("/");
    if path.is_absolute() { format!("file:///{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_the_working_directory() {
        let top = tempfile::tempdir().unwrap();
        let migrations = top.path().join("db").join("my migrations");
        std::fs::create_dir_all(&migrations).unwrap();
        let from =
            |directory: &Path, working: &Path| uri(&relative(directory, working).join("V1.sql"));
        assert_eq!(from(Path::new("db/my migrations"), top.path()), "db/my%20migrations/V1.sql");
        assert_eq!(from(&migrations, top.path()), "db/my%20migrations/V1.sql");
        assert!(from(&migrations, &top.path().join("db/my migrations")) == "V1.sql");
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(from(&migrations, elsewhere.path()).starts_with("file:///"));
    }
}
