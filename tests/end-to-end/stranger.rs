//! Somebody else with the keys of the account, who changes what a run is at work on.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::project::{Pace, Project, Ran, client, until, wave_of};

/// Calls AWS's API with the stage's keys, as any console or script would.
pub(crate) struct Stranger {
    endpoint: String,
    key: String,
}

impl Stranger {
    pub(crate) async fn of(project: &Project) -> Self {
        let told = project.json(&["stage", "start", "--env", "local"]).await.remove(0);
        let text = |name: &str| told["export"][name].as_str().unwrap().to_owned();
        Self { endpoint: text("AWS_ENDPOINT_URL"), key: text("AWS_ACCESS_KEY_ID") }
    }

    /// Lists the task definitions in use of one family, newest first.
    pub(crate) async fn task_definitions(&self, family: &str) -> Vec<String> {
        let scope = "20260101/eu-central-1/ecs/aws4_request";
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host, Signature=0",
            self.key
        );
        let ask = json!({ "familyPrefix": family, "sort": "DESC" });
        let answer = client()
            .post(&self.endpoint)
            .header("authorization", authorization)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListTaskDefinitions")
            .body(ask.to_string())
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let arns = answer["taskDefinitionArns"].as_array().unwrap().iter();
        let name = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
        arns.map(|arn| name(arn.as_str().unwrap())).collect()
    }

    /// Calls an operation of the load balancer.
    async fn balancer(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut body = format!("Action={action}&Version=2015-12-01");
        for (name, value) in parameters {
            write!(body, "&{name}={value}").unwrap();
        }
        let scope = "20260101/eu-central-1/elasticloadbalancing/aws4_request";
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host, Signature=0",
            self.key
        );
        let answer = client()
            .post(&self.endpoint)
            .header("authorization", authorization)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {text}");
        text
    }

    /// Splits a service's production traffic.
    async fn splits(&self, project: &Project, service: &str, blue: u8) {
        let balancers = self.balancer("DescribeLoadBalancers", &[]).await;
        let balancer = all(&balancers, "LoadBalancerArn").remove(0);
        let listeners = self.balancer("DescribeListeners", &[("LoadBalancerArn", &balancer)]).await;
        let url = project.url().await;
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
        let at = all(&listeners, "Port").iter().position(|one| one == port).unwrap();
        let listener = all(&listeners, "ListenerArn").remove(at);
        let rules = self.balancer("DescribeRules", &[("ListenerArn", &listener)]).await;
        let rule = rules
            .split("<RuleArn>")
            .skip(1)
            .find(|rule| rule.contains(&format!("-{service}-blue/")))
            .unwrap_or_else(|| panic!("{rules}"));
        let arn = rule.split('<').next().unwrap();
        let groups = all(rule, "TargetGroupArn");
        let group = |colour: &str| groups.iter().find(|one| one.contains(colour)).unwrap().clone();
        let first = "Actions.member.1.ForwardConfig.TargetGroups.member.1";
        let second = "Actions.member.1.ForwardConfig.TargetGroups.member.2";
        let parameters = [
            ("RuleArn".to_owned(), arn.to_owned()),
            ("Actions.member.1.Type".to_owned(), "forward".to_owned()),
            (format!("{first}.TargetGroupArn"), group("-blue/")),
            (format!("{first}.Weight"), blue.to_string()),
            (format!("{second}.TargetGroupArn"), group("-green/")),
            (format!("{second}.Weight"), (100 - blue).to_string()),
        ];
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.balancer("ModifyRule", &parameters).await;
    }
}

/// What stands between the tags of this name.
fn all(xml: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let inner = |part: &str| part.split('<').next().unwrap().to_owned();
    xml.split(&open).skip(1).map(inner).collect()
}

/// Promotes, lets somebody else split the backend's traffic while a tenth of it is on the new version, and waits for the end.
async fn meddled_with(project: &Project, blue: u8) -> Ran {
    project.add_version("1.2.1", 3);
    project.set_pace(Pace { step_bake: 3000, bake: 200 });
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.1"], &[]);
    let stranger = Stranger::of(project).await;
    until("the canary is watched", async || {
        wave_of(&project.services().await["backend"].weights) == Some(10)
    })
    .await;
    stranger.splits(project, "backend", blue).await;
    promotion.end().await
}

/// Shows W-4 and A-RB-1: somebody else moves traffic while the canary is watched. The run does not go on from there: it says what
/// it expected, what it found and what to do, and goes back; that it sets the others' weights back is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_weights_somebody_else_moved_stops_and_says_what_differs() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    let old = before.services["backend"].weights["blue"].as_u64().unwrap();
    let (expected, found) = match old {
        100 => ("blue 90 % / green 10 %", "blue 70 % / green 30 %"),
        _ => ("blue 10 % / green 90 %", "blue 70 % / green 30 %"),
    };
    let ran = meddled_with(&project, 70).await.exits(1);
    let ran = ran
        .says("rollout/backend/shift-50: the service is not as this run left it, so no traffic was moved")
        .says(&format!("weights: expected {expected}, found {found}"))
        .says("next: find out who else changes backend (`liftlock rollout status --env local`")
        .says(&format!("somebody else had set them to {found} meanwhile"));
    assert!(!ran.stdout.contains("wave-2"), "it went no step further: {}", ran.report());
    assert_eq!(project.world().await, before);
    assert_eq!(project.last_deployment().await["status"], json!("rolled_back"));
    project.serves("1.1.0").await;
    project.is_settled().await;

    // Nobody meddles any more: the same release goes through.
    project.set_pace(Pace::FAST);
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
}

/// Shows D-RB-1: somebody else gives all traffic back to the old version, as one does in need: that is no reason to set it again.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_that_somebody_gave_back_by_hand_stays_there() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    let old = before.services["backend"].weights["blue"].as_u64().unwrap();
    let ran = meddled_with(&project, u8::try_from(old).unwrap()).await.exits(1);
    ran.says("is not as this run left it");
    assert_eq!(project.world().await, before);
    let run = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let entries = project.json(&["history", "--run", run[0]["run"].as_str().unwrap()]).await;
    let notes = entries.iter().map(|entry| &entry["event"]["data"]["record"]["note"]);
    let already = notes.filter_map(Value::as_str).any(|note| note.contains("already"));
    assert!(already, "{entries:#?}");
}
