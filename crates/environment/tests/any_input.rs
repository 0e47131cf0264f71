//! Whatever the files hold, the answer is an environment or an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod project;

use liftlock_environment::{file_schema, schema};
use project::{BASE, Project};
use proptest::prelude::*;

/// Lines that are near to right, so that random files get past the parser.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "aws",
        "region",
        "url",
        "from",
        "kind",
        "services.backend",
        "rollout.steps",
        "gates.after",
        "port",
        "variables",
        "\"\"",
        "paths",
        "timeout",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "-1",
        "1e400",
        "nan",
        "0xffffffffffffffff",
        "true",
        "\"stage\"",
        "\"dev\"",
        "[]",
        "{}",
        "[[1], {}]",
        "{ from = \"env\" }",
        "{ kind = 5 }",
        "2026-01-01",
        "\"é://a:b@c\"",
        "\"\"\"\nx\"\"\"",
        "\"a:@b\"",
    ]);
    prop_oneof![
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        key.clone().prop_map(|key| format!("[{key}]\n")),
        key.prop_map(|key| format!("[[{key}]]\n")),
    ]
}

fn loads_or_fails(base: &[u8], dev: &[u8]) {
    let project = Project::new(BASE).with("base", base).with("dev", dev);
    if let Err(error) = project.load("dev") {
        assert!(!error.problems().is_empty());
        assert!(!error.render(true).is_empty() && !error.to_string().contains('\u{1b}'));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(base in prop::collection::vec(any::<u8>(), 0..200), dev in prop::collection::vec(any::<u8>(), 0..200)) {
        loads_or_fails(&base, &dev);
        loads_or_fails(BASE.as_bytes(), &dev);
    }

    #[test]
    fn any_text(base in "\\PC{0,200}", dev in "(?s).{0,200}") {
        loads_or_fails(base.as_bytes(), dev.as_bytes());
    }

    #[test]
    fn any_lines(lines in prop::collection::vec(line(), 0..12)) {
        loads_or_fails(BASE.as_bytes(), lines.concat().as_bytes());
        loads_or_fails(lines.concat().as_bytes(), b"");
    }

    /// A byte changed in a right file.
    #[test]
    fn any_slip(at in 0..BASE.len(), byte in any::<u8>()) {
        let mut dev = BASE.as_bytes().to_vec();
        dev[at] = byte;
        loads_or_fails(BASE.as_bytes(), &dev);
    }
}

#[test]
fn files_may_leave_out_what_the_other_holds() {
    assert!(schema()["required"].is_array());
    assert!(file_schema().get("required").is_none());
    assert!(file_schema()["$defs"]["Window"]["required"].is_array());
}
