//! What is no text, or no TOML, and what of it must not be printed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::project::{BASE, Project};
use crate::{at, refused};

#[test]
fn syntax_errors_have_their_line_in_both_files() {
    let project = Project::new("[aws\n").with("dev", "\na = \nb = 1\nb = 2\n");
    let error = project.load("dev").unwrap_err();
    let places: Vec<_> =
        error.problems().iter().map(|p| (p.file.to_str().unwrap(), p.line.unwrap())).collect();
    let expected =
        [("environments/base.toml", 1), ("environments/dev.toml", 2), ("environments/dev.toml", 4)];
    assert_eq!(places, expected, "{error}");
}

#[test]
fn unknown_environments_list_what_exists() {
    let project = Project::new(BASE).with("dev", "").with("staging", "");
    let text = project.load("stagign").unwrap_err().to_string();
    assert!(text.contains("there is no environment `stagign`"), "{text}");
    assert!(text.contains("did you mean `staging`? environments here: `dev`, `staging`"), "{text}");
    let text = project.load("base").unwrap_err().to_string();
    assert!(text.contains("`base` is what all environments share"), "{text}");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let text =
        |bytes: &[u8]| Project::new(BASE).with("dev", bytes).load("dev").unwrap_err().to_string();
    let latin = text(b"[aws]\n# f\xfcr\n");
    assert!(
        latin.contains("environments/dev.toml") && latin.contains("not UTF-8: line 2"),
        "{latin}"
    );
    assert!(text(b"\0\0\0").contains("not TOML"));
    let project = Project::new(BASE);
    fs::create_dir(project.file("dev")).unwrap();
    let text = project.load("dev").unwrap_err().to_string();
    assert!(text.contains("this is a directory, not a file"), "{text}");
    let project = Project::new(BASE).with("dev", "");
    fs::remove_file(project.file("base")).unwrap();
    let text = project.load("dev").unwrap_err().to_string();
    assert!(text.contains("environments/base.toml") && text.contains("does not exist"), "{text}");
    let project = Project::new(BASE);
    std::os::unix::fs::symlink("gone.toml", project.file("dev")).unwrap();
    assert!(project.load("dev").unwrap_err().to_string().contains("does not exist"));
}

#[test]
fn unreadable_files_say_so() {
    let project = Project::new(BASE).with("dev", "");
    fs::set_permissions(project.file("dev"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(project.file("dev")).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    let text = project.load("dev").unwrap_err().to_string();
    assert!(text.contains("cannot be read") && text.contains("ls -l"), "{text}");
}

#[test]
fn byte_order_marks_line_ends_and_empty_files_are_fine() {
    let windows = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    let project =
        Project::new(&windows).with("dev", "").with("test", "\u{feff}[aws]\r\nregoin = 1\r\n");
    project.load("dev").unwrap();
    let error = project.load("test").unwrap_err();
    assert_eq!(
        (error.problems()[0].line, error.problems()[0].column),
        (Some(2), Some(1)),
        "{error}"
    );
    assert!(!error.to_string().contains('\r'), "{error:?}");
    let error = refused("\u{feff}[awz]\n");
    assert_eq!(error.problems()[0].column, Some(2), "{error}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = refused("[aws]\n\"a\\u001b[2J\" = 1\nregion = \"\\u009b2J\"\n").to_string();
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    let text = refused("[aws]\nregion = \u{1b}[2J\n").to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

/// A secret in a file is refused, wherever it stands and whatever else is wrong with the line, and never printed.
#[test]
fn secrets_are_refused_and_not_printed() {
    for dev in [
        "[database]\nurl = \"postgres://shop:hunter2@db.example/shop\"\n",
        "[database]\nurl = \"hunter2\"\n",
        "[database]\nurl = \"\"\"\nhunter2\"\"\"\n",
        "[database]\nurl = [\"hunter2\"]\n",
        "[database]\nurl = { from = \"env\", value = \"hunter2\" }\n",
        "[database]\nurl = { from = \"hunter2\", value = \"hunter2\" }\n"
            .replace("from = \"hunter2\"", "from = \"vault\"")
            .as_str(),
        "[database]\nurl = { value = \"hunter2\" }\n",
        "[database.url]\nfrom = \"env\"\nvalue = \"hunter2\"\nvariable = 5\n",
        "[database]\nurl = { from = \"env\", variable = \"postgres://shop:hunter2@db/shop\" }\n",
        "[database]\nurl = \"postgres://shop:hunter2@db.example/shop\n",
        "[database]\nulr = \"postgres://shop:hunter2@db.example/shop\"\n",
        "[probes]\nurl = \"https://shop:hunter2@shop.example/\"\n",
        "[infrastructure.variables]\ndatabase = [\"postgres://shop:hunter2@db.example/shop\"]\n",
        "[database]\npassword = \"hunter2\"\n",
        "[database]\nurl = \"hunter2\n",
        "[database]\nurl = { from = \"env\", value = \"hunter2\"\n",
        "[infrastructure.variables]\ndatabase-password = \"hunter2\"\n",
        "[infrastructure.variables.database]\npassword = \"\"\"\nhunter2\"\"\"\n",
        "[ledger]\nurl = \"postgres://shop:hun@ter2@db.example/ledger\"\n",
        "[[notifications]]\nkind = \"slack\"\nname = \"x\"\nurl = \"https://hooks.slack.com/services/hunter2\"\n",
        "[infrastructure.variables]\nhook = \"https://hooks.slack.com/services/hunter2\"\n",
    ] {
        let error = refused(dev);
        for text in [error.to_string(), error.render(true), format!("{error:?}")] {
            assert!(!text.contains("hunter2") && !text.contains("ter2"), "{dev}\n{text}");
        }
    }
    at(
        2,
        "[database]\nurl = \"hunter2\"\n",
        &["url = [redacted]", "from = \"env\"", "must be changed"],
    );
    at(2, "[infrastructure.variables]\nx = \"postgres://a:b@c/d\"\n", &["holds a secret"]);
}
