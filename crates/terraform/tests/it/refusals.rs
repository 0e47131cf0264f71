//! A saved plan that does not hold any longer is refused before anything is touched. With terraform, on a root module
//! that needs no provider.

use std::path::Path;

use liftlock_terraform::{
    ApplyError, PlanError, PrepareError, SavedPlan, Sealed, Terraform, WorkError,
};
use liftlock_testkit::TerraformHome;

use crate::sample::{LOCAL_STATE, Repository};

const CODE: &str = r#"
variable "environment" {}
variable "size" { default = 1 }
resource "terraform_data" "this" { input = "${var.environment} ${var.size}" }
output "said" { value = terraform_data.this.output }
output "hidden" {
  value     = "not to be seen"
  sensitive = true
}
"#;

struct Bench {
    home: TerraformHome,
    repository: Repository,
}

impl Bench {
    fn new() -> Option<Self> {
        let home = TerraformHome::new()?;
        let prod = LOCAL_STATE.replace(".liftlock/", ".liftlock/prod-");
        let repository = Repository::new(&[("dev", LOCAL_STATE), ("prod", &prod)]);
        repository.write("iac/main.tf", CODE);
        Some(Self { home, repository })
    }

    async fn terraform(&self, name: &str) -> Terraform {
        let environment = self.repository.load(name);
        let variables = self.home.variables().into_iter().map(|(n, v)| (n, v.into())).collect();
        let work = self.repository.path().join(".liftlock/work").join(name);
        let terraform =
            Terraform::prepare(&environment, &self.code(), &work, variables).await.unwrap();
        terraform.init().await.unwrap();
        terraform
    }

    fn code(&self) -> std::path::PathBuf {
        self.repository.path().join("iac")
    }

    fn state_exists(&self) -> bool {
        let states = self.repository.path().join(".liftlock/terraform.tfstate.d");
        states.join("dev/terraform.tfstate").exists()
            || states.join("prod/terraform.tfstate").exists()
    }
}

async fn refused(terraform: &Terraform, plan: &SavedPlan) -> Vec<Sealed> {
    match terraform.apply(plan).await {
        Err(ApplyError::Refused { differences, environment }) => {
            let error = ApplyError::Refused { differences: differences.clone(), environment };
            assert!(error.to_string().contains("liftlock infra plan --env"), "{error}");
            differences.iter().map(|difference| difference.what).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Shows W-7: what was planned is what is applied, and what is sensitive is not handed on.
#[tokio::test]
async fn a_plan_is_applied_and_then_nothing_is_left_to_do() {
    let Some(bench) = Bench::new() else { return };
    let terraform = bench.terraform("dev").await;
    let plan = terraform.plan().await.unwrap();
    assert_eq!(plan.summary.headline(), "1 to create, 2 outputs to change");
    let stored = serde_json::to_string(&plan).unwrap();
    assert!(!stored.contains("not to be seen"));
    let outputs = terraform.apply(&serde_json::from_str(&stored).unwrap()).await.unwrap().outputs;
    assert_eq!(serde_json::to_value(outputs).unwrap(), serde_json::json!({"said": "dev 1"}));

    assert!(terraform.plan().await.unwrap().summary.is_empty());
    assert_eq!(refused(&terraform, &plan).await, [Sealed::State, Sealed::Plan]);
}

/// A plan file carries its own backend: without this, dev's plan would change dev while prod was meant.
#[tokio::test]
async fn a_plan_of_another_environment_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let plan = bench.terraform("dev").await.plan().await.unwrap();
    let found = refused(&bench.terraform("prod").await, &plan).await;
    for what in [Sealed::Environment, Sealed::Workspace, Sealed::Backend, Sealed::Values] {
        assert!(found.contains(&what), "{what} is not among {found:?}");
    }
    assert!(!bench.state_exists());
}

#[tokio::test]
async fn a_plan_whose_code_or_file_changed_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let terraform = bench.terraform("dev").await;
    let plan = terraform.plan().await.unwrap();
    bench.repository.write("iac/main.tf", &format!("{CODE}# edited\n"));
    assert_eq!(refused(&terraform, &plan).await, [Sealed::Code]);

    bench.repository.write("iac/main.tf", CODE);
    let mut bytes = std::fs::read(&plan.path).unwrap();
    bytes.push(0);
    std::fs::write(&plan.path, bytes).unwrap();
    assert_eq!(refused(&terraform, &plan).await, [Sealed::Plan]);
    assert!(!bench.state_exists());
}

#[tokio::test]
async fn a_plan_is_readable_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(bench) = Bench::new() else { return };
    let plan = bench.terraform("dev").await.plan().await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&plan.path), mode(plan.path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn wrong_code_is_shown_with_its_place() {
    let Some(bench) = Bench::new() else { return };
    let terraform = bench.terraform("dev").await;
    let environment = bench.repository.load("dev");
    bench.repository.write("iac/main.tf", "output \"x\" { value = var.nobody }\n");
    let work = bench.repository.path().join(".liftlock/work/dev");
    drop(terraform);
    let terraform =
        Terraform::prepare(&environment, &bench.code(), &work, Vec::new()).await.unwrap();
    terraform.init().await.unwrap();
    let error = terraform.plan().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PlanError::Command(_)));
    assert!(text.contains("main.tf line 1") && text.contains("undeclared"), "{text}");
}

#[tokio::test]
async fn a_directory_without_code_is_named() {
    let Some(bench) = Bench::new() else { return };
    let empty = tempfile::tempdir().unwrap();
    let work = empty.path().join("work");
    let environment = bench.repository.load("dev");
    let prepared = Terraform::prepare(&environment, empty.path(), &work, Vec::new()).await;
    assert!(
        matches!(&prepared, Err(PrepareError::Work(WorkError::NoCode(path))) if path == empty.path())
    );
    assert!(!work.exists());
}
