//! Each class of bad input: the message names the file, the line, what is wrong and what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod project;
#[path = "bad_input/text.rs"]
mod text;

use liftlock_environment::LoadError;
use liftlock_environment::config::SecretSource;
use project::{BASE, Project};

fn refused(dev: &str) -> LoadError {
    Project::new(BASE).with("dev", dev).load("dev").expect_err("it is refused")
}

/// Asserts that `dev` laid on the base is refused at `line` of dev.toml, with all of `words` in the text for people.
#[track_caller]
fn at(line: usize, dev: &str, words: &[&str]) {
    let error = refused(dev);
    let text = error.to_string();
    let problem = &error.problems()[0];
    assert_eq!(problem.file.to_str(), Some("environments/dev.toml"), "{text}");
    assert_eq!(problem.line, Some(line), "{text}");
    assert_eq!(error.problems().len(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

/// Shows B-ENV-1 (validated): everything that is wrong with a file at once, with file, line, column, what is allowed and
/// the nearest name.
#[test]
fn all_problems_are_shown_at_once() {
    let dev = include_str!("bad_input/many.toml");
    insta::assert_snapshot!(refused(dev).to_string());
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let error = refused("[aws]\nregoin = 1\n");
    let coloured = error.render(true);
    assert!(coloured.contains('\u{1b}') && !error.to_string().contains('\u{1b}'));
    assert!(coloured.contains("regoin"), "{coloured}");
}

/// Shows E-MIG-1 as far as the files go: levels are levels, and numbers are numbers.
#[test]
fn what_is_said_of_the_linters_rules_makes_sense() {
    let migrations = |more: &str| {
        format!(
            "[database]\nurl = {{ from = \"env\", variable = \"X\" }}\n[database.migrations]\n{more}"
        )
    };
    let lint = "lint = { rules = { ban-drop-column = \"warnin\" } }\n";
    at(4, &migrations(lint), &["did you mean `warning`?"]);
    at(
        4,
        &migrations("lint = { ignore_before = \"soon\" }\n"),
        &["not a migration's number", "V0041"],
    );
    at(4, &migrations("lint = { small_rows = 1 }\n"), &["unknown key `small_rows`"]);
    at(4, &migrations("alert_after = \"0s\"\n"), &["no time at all"]);
    at(4, &migrations("concurrent_budget = \"0s\"\n"), &["no time at all"]);
}

/// Shows C-MIG-8 as far as the files go: a method gets what it needs, and nothing of the other's.
#[test]
fn a_snapshot_fits_its_method() {
    let snapshot = |more: &str| {
        format!(
            "[database]\nurl = {{ from = \"env\", variable = \"X\" }}\n[database.snapshot]\n{more}"
        )
    };
    at(4, &snapshot("method = \"pg_dump\"\n"), &["need a directory", "directory = "]);
    at(
        5,
        &snapshot("method = \"pg_dump\"\ninstance = \"x\"\ndirectory = \"y\"\n"),
        &["`instance` is for"],
    );
    at(4, &snapshot("directory = \"y\"\n"), &["`directory` is for snapshots by `pg_dump`"]);
    at(4, &snapshot("method = \"pgdump\"\n"), &["did you mean `pg_dump`?"]);
}

/// Fleets, drift and rollbacks: what cannot be meant is refused, with the place.
#[test]
fn what_is_said_of_fleets_drift_and_rollbacks_makes_sense() {
    let database =
        |more: &str| format!("[database]\nurl = {{ from = \"env\", variable = \"X\" }}\n{more}");
    let fleet = |databases: &str, more: &str| {
        database(&format!("[database.fleet]\ndatabases = {databases}\n{more}"))
    };
    let list = "{ from = \"list\", names = [\"a\", \"b\"] }";
    at(5, &fleet(list, "canary = \"c\"\n"), &["the canary `c` is none of the fleet's"]);
    at(5, &fleet(list, "waves = [50, 10]\n"), &["the waves do not rise"]);
    at(5, &fleet(list, "concurrency = 0\n"), &["concurrency"]);
    at(
        4,
        &fleet("{ from = \"list\", names = [\"a\", \"a\"] }", ""),
        &["`a` is empty or stands there twice"],
    );
    at(4, &fleet("{ from = \"query\", sql = \" \" }", ""), &["the query is empty"]);
    at(4, &fleet("{ from = \"ssm\", path = \"shop\" }", ""), &["not a path of parameters", "`/`"]);
    at(4, &fleet("{ from = \"smm\", path = \"/shop\" }", ""), &["did you mean `ssm`?"]);
    let dumps = "[database.snapshot]\nmethod = \"pg_dump\"\ndirectory = \"saved\"\n";
    at(6, &fleet(list, dumps), &["`pg_dump` saves one database"]);
    at(4, &database("[database.migrations]\ndrift = \"warm\"\n"), &["did you mean `warn`?"]);
    at(2, "[rollback]\nreason_required = 1\n", &["must be a boolean"]);
    let approvals = "[rollback.approvals]\nrequired = 2\nfrom = [\"ann\"]\n";
    at(2, approvals, &["only 1 may give one", "`rollback.approvals.from`"]);
}

#[test]
fn typing_mistakes_get_the_nearest_name() {
    at(1, "[databse]\n", &["unknown key `databse`", "did you mean `database`?", "`services`"]);
    at(2, "[gates]\nwindos = []\n", &["did you mean `windows`?"]);
    at(2, "[infrastructure]\nengine = \"terrafrom\"\n", &["did you mean `terraform`?", "`tofu`"]);
    at(2, "[database]\nurl = { from = \"smm\" }\n", &["did you mean `ssm`?", "`command`"]);
    // A key that is there under a wrong name is not missing as well.
    at(
        3,
        "[[gates.freezes]]\nfrom = \"2026-01-01T00:00:00Z\"\nuntill = \"2026-01-02T00:00:00Z\"\nreason = \"x\"\n",
        &["did you mean `until`?"],
    );
}

#[test]
fn types_and_ranges_are_checked() {
    at(2, "[probes]\ntimeout = 5\n", &["must be a string, not an integer", "such as `\"30s\"`"]);
    at(
        2,
        "[[gates.freezes]]\nfrom = 2026-01-01T00:00:00Z\nuntil = \"2026-01-02T00:00:00Z\"\nreason = \"x\"\n",
        &["not a date-time", "in quotes"],
    );
    at(
        2,
        "[services.backend]\nport = \"8080\"\n",
        &["must be an integer, not a string", "without quotes"],
    );
    at(2, "[services.backend]\nport = 65536\n", &["1 to 65535"]);
    at(2, "[services.backend]\ntasks = 0\n", &["1 to 1000"]);
    at(2, "[services.backend]\ncpu = 4294967296\n", &["cannot be 4294967296"]);
    at(2, "[services.backend]\ncpu = 99999999999999999999\n", &["too large"]);
    at(2, "[services.backend.rollout]\nbake = \"soon\"\n", &["`soon`", "`30s`"]);
    at(2, "[services.backend.rollout]\nbake = \"99999999999999999999h\"\n", &["cannot be"]);
    at(2, "[services.backend.rollout]\npoll = \"0s\"\n", &["no time at all"]);
    at(2, "[services.backend.rollout.breaker]\nerror_rate = nan\n", &["0 to 100"]);
    at(2, "[aws]\naccount = 123456789012\n", &["must be a string", "quotes"]);
    at(2, "[aws]\nregion = \"Frankfurt\"\n", &["`Frankfurt`", "eu-central-1"]);
    at(1, "[services.Backend]\n", &["`Backend` cannot be a name", "lower-case"]);
    at(1, "[services.a-name-of-17-signs]\n", &["cannot be a name", "1 to 16"]);
    at(1, "services = 5\n", &["must be a table, not an integer"]);
}

#[test]
fn missing_keys_name_their_table_and_missing_tables_both_files() {
    at(
        1,
        "[services.worker]\nrepository = \"r/w\"\npaths = [\"/w\"]\n",
        &["`services.worker.port` is missing"],
    );
    let error =
        Project::new("").with("dev", "[aws]\nregion = \"eu-central-1\"\n").load("dev").unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems().len(), 3, "{text}");
    for words in [
        "the table `[application]` is missing: neither environments/base.toml nor environments/dev.toml has it",
        "the table `[infrastructure]` is missing",
        "with `engine`",
        "`aws.account` is missing",
    ] {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }
}

#[test]
fn a_problem_that_came_from_base_points_into_base() {
    let project = Project::new(&BASE.replace("8080\npaths", "\"x\"\npaths")).with("dev", "");
    let error = project.load("dev").unwrap_err();
    assert_eq!(error.problems()[0].file.to_str(), Some("environments/base.toml"), "{error}");
    assert_eq!(error.problems()[0].line, Some(17), "{error}");
    assert_eq!(error.problems()[0].column, Some(8), "{error}");
}

#[test]
fn the_chain_ends_and_names_environments_that_exist() {
    let after = |name: &str| format!("[gates]\nafter = \"{name}\"\n");
    let project = Project::new(BASE)
        .with("dev", after("prod"))
        .with("staging", after("dev"))
        .with("prod", after("staging"))
        .with("alone", after("alone"))
        .with("lost", after("stagin"))
        .with("below", after("lost"));
    let text = |name: &str| project.load(name).unwrap_err().to_string();
    assert!(text("dev").contains("goes round: dev → prod → staging → dev"), "{}", text("dev"));
    assert!(text("alone").contains("goes round: alone → alone"), "{}", text("alone"));
    assert!(text("lost").contains("did you mean `staging`?"), "{}", text("lost"));
    assert!(text("lost").contains("`dev`, `lost`, `prod`"), "{}", text("lost"));
    assert!(text("below").contains("environments/lost.toml:2:9"), "{}", text("below"));
}

#[test]
fn gates_that_could_never_open_are_refused() {
    let window = |from: &str, until: &str, zone: &str| {
        format!(
            "[[gates.windows]]\ndays = [\"monday\"]\nfrom = \"{from}\"\nuntil = \"{until}\"\ntimezone = \"{zone}\"\n"
        )
    };
    at(4, &window("15:00", "09:00", "UTC"), &["ends (09:00) before it begins (15:00)"]);
    at(4, &window("09:00", "09:00", "UTC"), &["before it begins"]);
    at(3, &window("9:00", "15:00", "UTC"), &["`9:00`", "HH:MM"]);
    at(5, &window("09:00", "15:00", "America/NewYork"), &["did you mean `America/New_York`?"]);
    at(5, &window("09:00", "15:00", "Eastern"), &["not a time zone"]);
    at(
        1,
        "gates = { windows = [{ days = [], from = \"09:00\", until = \"10:00\", timezone = \"UTC\" }] }",
        &["at least 1"],
    );
    let freeze = |from: &str, until: &str| {
        format!("[[gates.freezes]]\nfrom = \"{from}\"\nuntil = \"{until}\"\nreason = \"x\"\n")
    };
    at(2, &freeze("2026-12-24", "2026-12-26T00:00:00Z"), &["RFC 3339 with offset"]);
    at(3, &freeze("2026-12-24T00:00:00Z", "2026-12-24T00:00:00+01:00"), &["ends before it begins"]);
    at(2, "[gates.approvals]\nrequired = 2\nfrom = [\"eve\", \"eve\"]\n", &["only 1 may give one"]);
}

#[test]
fn a_strategy_has_what_it_needs_and_nothing_of_another() {
    let rollout = |lines: &str| format!("[services.backend.rollout]\n{lines}\n");
    at(2, &rollout("strategy = \"linear\""), &["does not say by how much", "increment = 20"]);
    at(2, &rollout("strategy = \"lineal\""), &["cannot be `lineal`", "did you mean `linear`"]);
    let both = "strategy = \"all-at-once\"\nsteps = [10, 100]";
    at(3, &rollout(both), &["`steps` are of a canary", "strategy = \"canary\""]);
    at(2, &rollout("increment = 20"), &["`increment` is of `linear`"]);
    at(2, &rollout("increment = 0"), &["cannot be 0", "1 to 100"]);
    let linear = rollout("strategy = \"linear\"\nincrement = 20\nstep_bake = \"1m\"");
    Project::new(BASE).with("dev", linear).load("dev").unwrap();
    at(2, &rollout("maximum = 150"), &["`maximum` is of `rolling`", "`canary`"]);
    let rolling = |lines: &str| rollout(&format!("strategy = \"rolling\"\n{lines}"));
    at(3, &rolling("steps = [10, 100]"), &["`steps` are of a canary", "`rolling`"]);
    at(3, &rolling("increment = 20"), &["`increment` is of `linear`"]);
    at(3, &rolling("maximum = 100"), &["none could ever be replaced", "lower `minimum_healthy`"]);
    at(3, &rolling("analysis = {}"), &["cannot be compared", "`canary`"]);
    let ecs = |lines: &str| rollout(&format!("strategy = \"ecs-{lines}"));
    at(2, &ecs("linear\""), &["`ecs-linear` does not say by how much"]);
    at(3, &ecs("linear\"\nincrement = 2"), &["no less than 3 %"]);
    at(3, &ecs("blue-green\"\nbake = \"90s\""), &["whole minutes"]);
    at(
        3,
        &ecs("blue-green\"\nsteps = [10, 100]"),
        &["`steps` are of a canary", "`ecs-blue-green`"],
    );
    at(2, &ecs("canary\""), &["how much comes first", "steps = [10, 100]"]);
    at(3, &ecs("canary\"\nsteps = [10, 50, 100]"), &["has two steps", "`strategy = \"canary\"`"]);
    at(3, &ecs("canary\"\nsteps = [{ share = 10, pause = true }, 100]"), &["without pauses"]);
    Project::new(BASE).with("dev", ecs("canary\"\nsteps = [5, 100]")).load("dev").unwrap();
    let fine = rolling("minimum_healthy = 0\nmaximum = 100");
    Project::new(BASE).with("dev", fine).load("dev").unwrap();
}

#[test]
fn services_wait_for_others_and_never_for_each_other() {
    let after = |name: &str| format!("[services.backend.rollout]\ndepends_on = [\"{name}\"]\n");
    at(2, &after("backend"), &["`backend` would wait for itself", "leave it out"]);
    at(2, &after("proxy"), &["there is no service `proxy` to wait for"]);
    at(2, &after("No"), &["depends_on"]);
    let service = |name: &str, after: &str| {
        format!(
            "[services.{name}]\nrepository = \"shop/{name}\"\nport = 80\npaths = [\"/{name}\"]\nrollout.depends_on = [\"{after}\"]\n"
        )
    };
    let circle = after("api") + &service("api", "cache") + &service("cache", "backend");
    let told = "`api` for `cache`, that for `backend`, that for `api`";
    at(7, &circle, &["wait for each other", told, "take one of these"]);
    let line = after("api") + &service("api", "cache") + &service("cache", "other");
    let line = line.replace("\nrollout.depends_on = [\"other\"]", "");
    Project::new(BASE).with("dev", line).load("dev").unwrap();
}

#[test]
fn rollout_steps_rise_to_100() {
    let steps = |steps: &str| format!("[services.backend.rollout]\nsteps = {steps}\n");
    at(2, &steps("[]"), &["end with 100"]);
    at(2, &steps("[10, 50]"), &["the last step is not 100"]);
    at(2, &steps("[50, 10, 100]"), &["step 10 is not higher than the step before, 50"]);
    at(2, &steps("[10, 10, 100]"), &["step 10 is not higher"]);
    at(2, &steps("[10, 100, 100]"), &["step 100 is not higher"]);
    Project::new(BASE).with("dev", steps("[100]")).load("dev").unwrap();
    at(2, &steps("[10, { share = 10 }, 100]"), &["step 10 is not higher"]);
    at(2, &steps("[{ share = 101 }, 100]"), &["steps[0].share` cannot be 101"]);
    at(2, &steps("[{ bake = \"5m\" }, 100]"), &["steps[0].share` is missing"]);
    at(2, &steps("[{ share = 10, puase = true }, 100]"), &["unknown key `puase`", "`pause`"]);
    at(2, &steps("[{ share = 10, pause = 30 }, 100]"), &["must be a string or a boolean"]);
    at(2, &steps("[{ share = 10, pause = \"soon\" }, 100]"), &["cannot be `soon`", "`30s`"]);
    at(2, &steps("[{ share = 10, pause = \"0s\" }, 100]"), &["pause` is no time at all"]);
    at(2, &steps("[\"10\", 100]"), &["must be an integer or a table", "without quotes"]);
    let fine =
        "[{ share = 10, bake = \"5m\", pause = \"30m\" }, { share = 50, pause = true }, 100]";
    Project::new(BASE).with("dev", steps(fine)).load("dev").unwrap();
}

/// Shows E-IAC-1 as far as names go: each resource has the environment's prefix, and AWS takes the name.
#[test]
fn names_that_aws_refuses_are_refused_first() {
    let project = Project::new(&BASE.replace("\"shop\"", "\"a-long-shop-name\"")).with("dev", "");
    let error = project.load("dev").unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems().len(), 2, "{text}");
    for words in ["`a-long-shop-name-dev-frontend-green` has a name of 35", "allows 32", "by 3"] {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }
}

#[test]
fn paths_stay_in_the_repository() {
    at(2, "[infrastructure]\nroot = \"/srv/iac\"\n", &["inside the repository"]);
    at(2, "[database.migrations]\ndirectory = \"../migrations\"\n", &["without `..`"]);
    at(
        1,
        "infrastructure.backend = { kind = \"local\", path = \"a/../../b\" }\n",
        &["inside the repository"],
    );
}

#[test]
fn engines_need_what_they_work_with() {
    let stage = "[services.frontend.stage]\ncommand = [\"x\"]\nversions = \"v\"\n";
    let dev =
        format!("[infrastructure]\nengine = \"stage\"\n{stage}[services.backend]\ntasks = 1\n");
    at(6, &dev, &["`services.backend.stage` is missing", "`command` and `versions`"]);
    at(2, "[database]\nurl = { from = \"stage\" }\n", &["comes from the stage", "`command`"]);
    at(2, "[database]\nurl = { from = \"command\", program = [] }\n", &["names no program"]);
    let stateless = BASE.replace("[infrastructure.backend]", "[infrastructure.variables]");
    let text = Project::new(&stateless).with("dev", "").load("dev").unwrap_err().to_string();
    assert!(text.contains("`infrastructure.backend` is missing"), "{text}");
    assert!(text.contains("environments/base.toml:8:1"), "{text}");
}

/// A table of another kind replaces the one below it: base.toml's variable means nothing to the stage.
#[test]
fn a_source_of_another_kind_replaces_the_one_in_base() {
    let project = Project::new(BASE)
        .with("dev", "[database.url]\nfrom = \"file\"\npath = \"/run/secrets/url\"\n");
    let url = project.load("dev").unwrap().config.database.unwrap().url;
    assert_eq!(url, SecretSource::File { path: "/run/secrets/url".into() });
    let project = Project::new(BASE).with("dev", "[database.url]\nvariable = \"OTHER\"\n");
    let url = project.load("dev").unwrap().config.database.unwrap().url;
    assert_eq!(url, SecretSource::Env { variable: "OTHER".into() });
}

#[test]
fn addresses_are_http() {
    at(2, "[aws]\nendpoint = \"ftp://127.0.0.1\"\n", &["`http://` or `https://`"]);
    at(2, "[aws]\nendpoint = \"127.0.0.1\"\n", &["not a URL"]);
    at(2, "[probes]\nurl = \"file:///etc/passwd\"\n", &["not an HTTP address"]);
}

#[test]
fn each_request_belongs_to_one_service() {
    let worker =
        |paths: &str| format!("[services.worker]\nrepository = \"r/w\"\nport = 1\n{paths}\n");
    at(1, &worker(""), &["`worker` and `frontend` both have no `paths`"]);
    at(4, &worker("paths = [\"/w\", \"/api/*\"]"), &["also one of `services.backend`"]);
    at(4, &worker("paths = [\"api\"]"), &["begins with `/`"]);
    at(4, &worker("paths = []"), &["no request would reach"]);
    let nothing = &BASE[..BASE.find("[services.backend]").unwrap()];
    let text = Project::new(nothing).with("dev", "").load("dev").unwrap_err().to_string();
    assert!(text.contains("there is no service"), "{text}");
}

/// Shows A-PIPE-3 as far as files go: an environment cannot pin an image.
#[test]
fn repositories_have_neither_tag_nor_digest() {
    let repository = |text: &str| format!("[services.backend]\nrepository = \"{text}\"\n");
    at(2, &repository("registry.example:5000/shop:latest"), &["names a tag", "by digest"]);
    at(2, &repository("shop@sha256:00"), &["names a digest"]);
    at(2, &repository("Shop Backend"), &["not an image repository"]);
    Project::new(BASE).with("dev", repository("registry.example:5000/shop")).load("dev").unwrap();
}

#[test]
fn a_switch_leaves_the_promotion_time() {
    at(2, "[switch]\nafter = \"30s\"\n", &["would fire too soon", "`1m` or more"]);
    at(2, "[switch]\nrole = \"no role\"\n", &["`switch.role`"]);
}

#[test]
fn names_are_given_once() {
    let smoke = "[[probes.smoke]]\nkind = \"http\"\nname = \"a\"\npath = \"/\"\n";
    at(7, &smoke.repeat(2), &["two `probes.smoke` named `a`"]);
    let slack = "[[notifications]]\nkind = \"slack\"\nname = \"a\"\nurl = { from = \"env\", variable = \"A\" }\n";
    at(7, &slack.repeat(2), &["two `notifications` named `a`"]);
}

#[test]
fn smoke_tests_can_run() {
    at(
        5,
        "[[probes.smoke]]\nkind = \"http\"\nname = \"a\"\npath = \"/\"\nbody = \"{\"\n",
        &["not JSON"],
    );
    at(
        4,
        "[[probes.smoke]]\nkind = \"http\"\nname = \"a\"\npath = \"health\"\n",
        &["begins with `/`"],
    );
}

/// Requests that compare a service go to that service.
#[test]
fn synthetic_probes_ask_a_path_of_the_service() {
    let probes = |path: &str| {
        format!(
            "[services.backend.rollout.analysis]\nprobes = {{ path = \"{path}\", per_second = 5 }}\n"
        )
    };
    at(2, &probes("/"), &["none of `services.backend.paths`"]);
    at(2, &probes("api/items"), &["is not a request path", "begins with `/`"]);
    at(2, &probes("/api/items").replace("= 5", "= 0"), &["allowed: 1 to 100"]);
    Project::new(BASE).with("dev", probes("/api/items?page=2")).load("dev").unwrap();
    let load = |path: &str| {
        format!("[services.backend.performance]\npath = \"{path}\"\nrequests_per_second = 5\n")
    };
    at(2, &load("/"), &["none of `services.backend.paths`"]);
    at(4, &format!("{}duration = \"0s\"", load("/api/items")), &["no time at all"]);
    at(4, &format!("{}cpu = 200", load("/api/items")), &["allowed: 1 to 100"]);
    Project::new(BASE).with("dev", load("/api/items")).load("dev").unwrap();
}

/// Shows D-RB-1 as data: a named check says what it looks at, what is good, and nothing that would be ignored or leak.
#[test]
fn a_named_check_is_whole_and_its_placeholders_are_known() {
    let check = |lines: &str| format!("[services.backend.rollout.checks.latency]\n{lines}\n");
    let query = |query: &str| {
        check(&format!(
            "below = 0.5\nprometheus = {{ url = \"https://metrics.example\", query = '''{query}''' }}"
        ))
    };
    at(1, &check("below = 1"), &["does not say what it looks at", "`alarm` (an alarm's name)"]);
    at(
        1,
        &check("alarm = \"a\"\njson = { url = \"https://x\", pointer = \"\" }"),
        &["more than one"],
    );
    at(
        1,
        &check("json = { url = \"https://x\", pointer = \"/a\" }"),
        &["does not say what is good"],
    );
    at(3, &query("up{service=\"{{servise}}\"}"), &["`{{servise}}` stands for", "mean `service`?"]);
    at(3, &query(" "), &["it is empty"]);
    at(3, &check("alarm = \"a\"\nbelow = 1"), &["`below` is not for an alarm"]);
    at(
        2,
        &check("below = 1\nabove = 2\njson = { url = \"https://x\", pointer = \"/a\" }"),
        &["both below"],
    );
    at(
        3,
        &check("below = 1\nequals = 2\njson = { url = \"https://x\", pointer = \"/a\" }"),
        &["stands alone"],
    );
    at(3, &check("below = 1\njson = { url = \"https://x\", pointer = \"$.a\" }"), &["RFC 6901"]);
    at(2, &check("below = inf\njson = { url = \"https://x\", pointer = \"/a\" }"), &["finite"]);
    at(
        3,
        &check("equals = 1\njson = { url = \"https://x/{{service}}\", pointer = \"/a\" }"),
        &["no placeholders"],
    );
    let token = "token = { from = \"env\", variable = \"T\" }";
    let json = |url: &str| {
        check(&format!("equals = \"ok\"\njson = {{ url = \"{url}\", pointer = \"/a\", {token} }}"))
    };
    at(3, &json("http://metrics.example"), &["in the clear", "https://"]);
    for fine in
        [json("http://127.0.0.1:9090"), json("https://x"), query("up{a=\"{{release}}\"} > 0")]
    {
        Project::new(BASE).with("dev", fine).load("dev").unwrap();
    }
    let written =
        "below = 1\njson = { url = \"https://x\", pointer = \"/a\", token = \"s3cr3t-value\" }";
    let error = refused(&check(written)).to_string();
    assert!(error.contains("holds a secret") && !error.contains("s3cr3t-value"), "{error}");
    at(2, &check("no_data = \"pass\"\nalarm = \"a\""), &["`fail`", "`breaker`"]);
}
