//! The meaning of the calls, on moto with hands for its ECS.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails where something is missing"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecs::types::{
    AwsVpcConfiguration, ContainerDefinition, KeyValuePair, LoadBalancer, NetworkConfiguration,
    NetworkMode, PortMapping,
};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, ProtocolEnum, RuleCondition, Tag,
    TargetGroupTuple, TargetTypeEnum,
};
use jiff::Timestamp;
use liftlock_aws::{
    AlarmState, Alarms, AwsErrorKind, Clients, Credentials, EcsSwitch, EcsTarget, RdsInstances,
    RdsSnapshots, SsmParameters,
};
use liftlock_environment::config;
use liftlock_migrate::snapshot::{
    Origin, ReviveRequest, SnapshotErrorKind, SnapshotRequest, revive, take,
};
use liftlock_model::ImageRef;
use liftlock_rollout::{
    Back, Colour, PutOff, Switch, Target, TargetErrorKind, TaskDefinition, Wait, Weights, lower,
    raise, seen_serving, shift,
};
use liftlock_testkit::moto::{ACCOUNT, Moto, REGION};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "shop-dev";

fn quiet(_: String) {}

fn said(text: String) {
    println!("{text}");
}

fn image(digit: &str) -> ImageRef {
    format!("registry.example/shop/backend@sha256:{}", digit.repeat(64)).parse().unwrap()
}

fn release(id: &str) -> BTreeMap<String, String> {
    [("RELEASE_ID".to_owned(), id.to_owned()), ("RELEASE_VERSION".into(), "1.0.0".into())].into()
}

fn sdk(moto: &Moto) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(moto.endpoint())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            aws_credential_types::Credentials::new("test", "test", None, None, "test"),
        ))
        .build()
}

async fn clients(moto: &Moto) -> Clients {
    let aws = config::Aws { region: REGION.into(), account: ACCOUNT.into(), endpoint: None };
    let credentials =
        Credentials::Static { access_key: "test".into(), secret: "test".to_owned().into() };
    let endpoint = moto.endpoint().parse().unwrap();
    Clients::connect(&aws, Some(&endpoint), credentials).await.unwrap()
}

/// What Terraform makes for the service `backend`.
async fn topology(moto: &Moto) {
    let config = sdk(moto);
    let (ecs, elb) =
        (aws_sdk_ecs::Client::new(&config), aws_sdk_elasticloadbalancingv2::Client::new(&config));
    ecs.create_cluster().cluster_name(PREFIX).send().await.unwrap();
    let subnets = moto.aws().call(["ec2", "describe-subnets"]).await;
    let subnet = |n: usize| subnets["Subnets"][n]["SubnetId"].as_str().unwrap().to_owned();
    let guards = moto.aws().call(["ec2", "describe-security-groups"]).await;
    let guard = guards["SecurityGroups"][0]["GroupId"].as_str().unwrap();
    let balancer =
        elb.create_load_balancer().name(PREFIX).subnets(subnet(0)).subnets(subnet(1)).send();
    let balancer = balancer.await.unwrap().load_balancers.unwrap().remove(0);
    let mut groups = Vec::new();
    for colour in Colour::BOTH {
        let group = elb
            .create_target_group()
            .name(format!("{PREFIX}-backend-{colour}"))
            .protocol(ProtocolEnum::Http)
            .port(8080)
            .target_type(TargetTypeEnum::Ip)
            .vpc_id(subnets["Subnets"][0]["VpcId"].as_str().unwrap());
        let group = group.send().await.unwrap().target_groups.unwrap().remove(0);
        groups.push(group.target_group_arn.unwrap());
    }
    for (role, port, live) in [("production", 80, Colour::Blue), ("test", 8081, Colour::Green)] {
        let weights = Weights::all(live);
        let tuple = |n: usize, colour| {
            TargetGroupTuple::builder()
                .target_group_arn(&groups[n])
                .weight(i32::from(weights.share(colour)))
                .build()
        };
        let forward = ForwardActionConfig::builder()
            .target_groups(tuple(0, Colour::Blue))
            .target_groups(tuple(1, Colour::Green))
            .build();
        let forward =
            Action::builder().r#type(ActionTypeEnum::Forward).forward_config(forward).build();
        let missing =
            Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(&groups[0]).build();
        let listener = elb
            .create_listener()
            .load_balancer_arn(balancer.load_balancer_arn().unwrap())
            .protocol(ProtocolEnum::Http)
            .port(port)
            .default_actions(missing)
            .tags(Tag::builder().key("liftlock:listener").value(role).build());
        let listener = listener.send().await.unwrap().listeners.unwrap().remove(0);
        let everything = RuleCondition::builder().field("path-pattern").values("/*").build();
        elb.create_rule()
            .listener_arn(listener.listener_arn().unwrap())
            .priority(10)
            .conditions(everything)
            .actions(forward)
            .send()
            .await
            .unwrap();
    }
    base(&ecs, "256").await;
    for (n, colour) in Colour::BOTH.into_iter().enumerate() {
        let balancer = LoadBalancer::builder()
            .target_group_arn(&groups[n])
            .container_name("backend")
            .container_port(8080)
            .build();
        let network = AwsVpcConfiguration::builder().subnets(subnet(0)).security_groups(guard);
        let network = network.build().unwrap();
        ecs.create_service()
            .cluster(PREFIX)
            .service_name(format!("{PREFIX}-backend-{colour}"))
            .task_definition(format!("{PREFIX}-backend-base"))
            .desired_count(0)
            .load_balancers(balancer)
            .network_configuration(
                NetworkConfiguration::builder().awsvpc_configuration(network).build(),
            )
            .send()
            .await
            .unwrap_or_else(|error| panic!("{error:?}\n{}", moto.log()));
    }
}

async fn base(ecs: &aws_sdk_ecs::Client, cpu: &str) {
    let container = ContainerDefinition::builder()
        .name("backend")
        .image("registry.example/shop/backend:none")
        .environment(KeyValuePair::builder().name("PORT").value("8080").build())
        .port_mappings(PortMapping::builder().container_port(8080).build());
    ecs.register_task_definition()
        .family(format!("{PREFIX}-backend-base"))
        .cpu(cpu)
        .memory("512")
        .network_mode(NetworkMode::Awsvpc)
        .container_definitions(container.build())
        .send()
        .await
        .unwrap();
}

/// Shows W-4: two releases one after the other through real calls, with the weights read by the `aws` client.
#[tokio::test(flavor = "multi_thread")]
async fn two_releases_are_rolled_out() {
    let Some(moto) = Moto::start().await else { return };
    topology(&moto).await;
    let clients = clients(&moto).await;
    clients.check(PREFIX).await.unwrap();
    let target = EcsTarget::new(&clients, PREFIX, &"backend".parse().unwrap());
    let live = target.live().await.unwrap();
    assert_eq!((live.live_colour(), live.idle()), (None, Colour::Green));
    assert_eq!((live.weights, live.test), (Weights::all(Colour::Blue), Colour::Green));

    let cancel = CancellationToken::new();
    let wait = Wait {
        poll: Duration::from_millis(200),
        timeout: Duration::from_secs(60),
        cancel: &cancel,
        on: &said,
    };
    for (id, digit) in [("rel-1", "1"), ("rel-2", "2")] {
        let (image, live) = (image(digit), target.live().await.unwrap());
        let idle = live.idle();
        let first = live.live_colour().is_none();
        target.point_test(idle).await.unwrap();
        let revision = target.register(&image, &release(id)).await.unwrap();
        raise(&target, idle, &revision, image.digest(), 2, &wait).await.unwrap();
        for share in if first { vec![100] } else { vec![10, 50, 100] } {
            let weights = Weights::giving(idle, share).unwrap();
            let shifted = shift(&target, weights, 2, &wait).await.unwrap();
            assert_eq!(shifted.after, weights);
            assert_eq!(weights_seen_by_aws(&moto).await, weights);
        }
        seen_serving(&target, idle, image.digest(), 2).await.unwrap();
        lower(&target, idle.other(), 0, &wait).await.unwrap();
        let error = target.deregister(&revision).await.unwrap_err();
        assert!(error.to_string().contains("still in use"), "{error}");
    }
    assert_eq!(target.live().await.unwrap().live_colour(), Some(Colour::Blue));
    assert_eq!(target.urls().await.unwrap().production.port_or_known_default(), Some(80));
}

/// Green's and blue's share on the production rule, as the real `aws` client reads them.
async fn weights_seen_by_aws(moto: &Moto) -> Weights {
    let aws = moto.aws();
    let balancers = aws.call(["elbv2", "describe-load-balancers", "--names", PREFIX]).await;
    let arn = balancers["LoadBalancers"][0]["LoadBalancerArn"].as_str().unwrap().to_owned();
    let listeners = aws.call(["elbv2", "describe-listeners", "--load-balancer-arn", &arn]).await;
    let listeners = listeners["Listeners"].as_array().unwrap();
    let production = listeners.iter().find(|listener| listener["Port"] == 80).unwrap();
    let arn = production["ListenerArn"].as_str().unwrap();
    let rules = aws.call(["elbv2", "describe-rules", "--listener-arn", arn]).await;
    let rule = rules["Rules"].as_array().unwrap().iter().find(|rule| rule["Priority"] == "10");
    let groups = rule.unwrap()["Actions"][0]["ForwardConfig"]["TargetGroups"].as_array().unwrap();
    let share = |colour: &str| {
        let of = |group: &&serde_json::Value| {
            group["TargetGroupArn"].as_str().unwrap().contains(&format!("backend-{colour}/"))
        };
        u8::try_from(groups.iter().find(of).unwrap()["Weight"].as_u64().unwrap()).unwrap()
    };
    Weights::new(share("blue"), share("green")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_registered_once_and_again_when_the_base_changes() {
    let Some(moto) = Moto::start().await else { return };
    topology(&moto).await;
    let target = EcsTarget::new(&clients(&moto).await, PREFIX, &"backend".parse().unwrap());
    let first = target.register(&image("1"), &release("rel-1")).await.unwrap();
    assert_eq!(first.to_string(), "shop-dev-backend:1");
    assert_eq!(target.register(&image("1"), &release("rel-1")).await.unwrap(), first);
    let second = target.register(&image("1"), &release("rel-2")).await.unwrap();
    assert_eq!(second.to_string(), "shop-dev-backend:2");
    assert_eq!(target.register(&image("1"), &release("rel-1")).await.unwrap(), first);
    base(&aws_sdk_ecs::Client::new(&sdk(&moto)), "512").await;
    let third = target.register(&image("1"), &release("rel-1")).await.unwrap();
    assert_eq!(third.to_string(), "shop-dev-backend:3");
    target.deregister(&third).await.unwrap();
    target.deregister(&third).await.unwrap();
    let after = target.register(&image("1"), &release("rel-1")).await.unwrap();
    assert_eq!(after.to_string(), "shop-dev-backend:4", "a revision out of use is not found again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_the_command_that_makes_it() {
    let Some(moto) = Moto::start().await else { return };
    let clients = clients(&moto).await;
    let error = clients.check(PREFIX).await.unwrap_err();
    assert_eq!(error.kind(), AwsErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("liftlock infra apply"), "{error}");
    let target = EcsTarget::new(&clients, PREFIX, &"backend".parse().unwrap());
    for error in [
        target.live().await.unwrap_err(),
        target.set_weights(Weights::all(Colour::Blue)).await.unwrap_err(),
        target.register(&image("1"), &release("rel-1")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(PREFIX), "{error}");
    }
    let parameters = SsmParameters::new(&clients);
    let error = parameters.get("/shop/dev/database-url").await.unwrap_err();
    assert_eq!(error.kind(), AwsErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("/shop/dev/database-url"), "{error}");
}

/// Shows E-RB-2 in part: a snapshot is made once, with its tags, and waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_made_once() {
    let Some(moto) = Moto::start().await else { return };
    let clients = clients(&moto).await;
    let snapshots = RdsSnapshots::new(&clients);
    let request = SnapshotRequest {
        id: "shop-dev-run-1".into(),
        instance: PREFIX.into(),
        tags: [("liftlock:run".to_owned(), "run-1".to_owned())].into(),
    };
    let cancel = CancellationToken::new();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let missing = take(&snapshots, &request, second, second, &quiet, &cancel).await.unwrap_err();
    let liftlock_migrate::snapshot::TakeError::Snapshots(missing) = missing else {
        panic!("{missing}")
    };
    assert_eq!(missing.kind(), SnapshotErrorKind::NotFound, "{missing}");
    let rds = aws_sdk_rds::Client::new(&sdk(&moto));
    let instance = rds.create_db_instance().db_instance_identifier(PREFIX).engine("postgres");
    instance.db_instance_class("db.t4g.micro").send().await.unwrap();
    for _ in 0..2 {
        let taken = take(&snapshots, &request, minute, second, &quiet, &cancel).await.unwrap();
        assert!(taken.arn.ends_with("snapshot:shop-dev-run-1"), "{}", taken.arn);
    }
    let arguments = ["rds", "describe-db-snapshots", "--db-instance-identifier", PREFIX];
    let seen = moto.aws().call(arguments).await;
    let all = seen["DBSnapshots"].as_array().unwrap().iter();
    // RDS makes one of its own when an instance is created.
    let ours: Vec<_> = all.filter(|snapshot| snapshot["SnapshotType"] == "manual").collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0]["TagList"][0]["Key"], "liftlock:run");
}

/// Shows C-RB-2 in part: an instance comes back from a snapshot, or to a point in time, once, in the old one's class and network, with
/// its tags; the old one stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_brought_back_once() {
    let Some(moto) = Moto::start().await else { return };
    let clients = clients(&moto).await;
    let (snapshots, instances) = (RdsSnapshots::new(&clients), RdsInstances::new(&clients));
    let rds = aws_sdk_rds::Client::new(&sdk(&moto));
    let subnets = moto.aws().call(["ec2", "describe-subnets"]).await;
    let subnet = |n: usize| subnets["Subnets"][n]["SubnetId"].as_str().unwrap().to_owned();
    let group = rds.create_db_subnet_group().db_subnet_group_name(PREFIX);
    let group = group.db_subnet_group_description("x").subnet_ids(subnet(0)).subnet_ids(subnet(1));
    group.send().await.unwrap();
    let guards = moto.aws().call(["ec2", "describe-security-groups"]).await;
    let guard = guards["SecurityGroups"][0]["GroupId"].as_str().unwrap();
    let instance = rds.create_db_instance().db_instance_identifier(PREFIX).engine("postgres");
    let instance = instance.db_subnet_group_name(PREFIX).vpc_security_group_ids(guard);
    instance.db_instance_class("db.t4g.micro").allocated_storage(20).send().await.unwrap();

    let cancel = CancellationToken::new();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let request = SnapshotRequest {
        id: "shop-dev-run-1".into(),
        instance: PREFIX.into(),
        tags: BTreeMap::new(),
    };
    take(&snapshots, &request, minute, second, &quiet, &cancel).await.unwrap();
    let ask = |name: &str, origin| ReviveRequest {
        instance: name.into(),
        like: PREFIX.into(),
        origin,
        tags: [("liftlock:run".to_owned(), "run-2".to_owned())].into(),
    };
    let from = |id: &str| Origin::Snapshot { id: id.into() };
    let at = Origin::Time { at: "2026-01-31T10:15:00Z".parse().unwrap() };
    for request in [
        ask("shop-dev-back", from("shop-dev-run-1")),
        ask("shop-dev-back", from("shop-dev-run-1")),
        ask("shop-dev-then", at.clone()),
        ask("shop-dev-then", at),
    ] {
        let revived = revive(&instances, &request, minute, second, &quiet, &cancel).await.unwrap();
        assert!(revived.endpoint.starts_with(&request.instance), "{}", revived.endpoint);
    }
    let seen = moto.aws().call(["rds", "describe-db-instances"]).await;
    let all = seen["DBInstances"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    for name in ["shop-dev-back", "shop-dev-then"] {
        let one = all.iter().find(|one| one["DBInstanceIdentifier"] == name).unwrap();
        assert_eq!(one["DBInstanceClass"], "db.t4g.micro");
        assert_eq!(one["DBSubnetGroup"]["DBSubnetGroupName"], PREFIX);
        assert_eq!(one["VpcSecurityGroups"][0]["VpcSecurityGroupId"], guard);
        let tags = one["TagList"].as_array().unwrap();
        assert!(tags.iter().any(|tag| tag["Key"] == "liftlock:restored-from"), "{tags:?}");
        assert!(tags.iter().any(|tag| tag["Value"] == "run-2"), "{tags:?}");
    }
    // Its name is taken by something else; its snapshot is not there.
    for (name, id, words) in [
        (PREFIX, "shop-dev-run-1", "was not brought back from shop-dev-run-1"),
        ("shop-dev-x", "nothing", "nothing"),
    ] {
        let request = ask(name, from(id));
        let refused = revive(&instances, &request, minute, second, &quiet, &cancel).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_decrypted() {
    let Some(moto) = Moto::start().await else { return };
    let (clients, aws) = (clients(&moto).await, moto.aws());
    let name = "/shop/dev/database-url";
    let put = [
        "ssm",
        "put-parameter",
        "--type",
        "SecureString",
        "--value",
        "postgres://hush",
        "--name",
        name,
    ];
    aws.call(put).await;
    let secret = SsmParameters::new(&clients).get(name).await.unwrap();
    assert_eq!(secret.expose_secret(), "postgres://hush");
}

/// Shows A-RB-1 in part: alarms that ring are read with their reason, those of other environments and those that are quiet are not.
#[tokio::test(flavor = "multi_thread")]
async fn ringing_alarms_are_read() {
    let Some(moto) = Moto::start().await else { return };
    let aws = moto.aws();
    let clients = clients(&moto).await;
    for name in ["shop-dev-backend-5xx", "shop-dev-frontend-5xx", "shop-prod-backend-5xx"] {
        let put = [
            "cloudwatch",
            "put-metric-alarm",
            "--alarm-name",
            name,
            "--namespace",
            "AWS/ApplicationELB",
            "--metric-name",
            "HTTPCode_Target_5XX_Count",
            "--statistic",
            "Sum",
            "--period",
            "60",
            "--evaluation-periods",
            "1",
            "--threshold",
            "10",
            "--comparison-operator",
            "GreaterThanThreshold",
        ];
        aws.call(put).await;
    }
    assert!(Alarms::new(&clients).in_alarm("shop-dev").await.unwrap().is_empty());
    for name in ["shop-dev-backend-5xx", "shop-prod-backend-5xx"] {
        let set = [
            "cloudwatch",
            "set-alarm-state",
            "--alarm-name",
            name,
            "--state-value",
            "ALARM",
            "--state-reason",
            "12 over 10",
        ];
        aws.call(set).await;
    }
    let ringing = Alarms::new(&clients).in_alarm("shop-dev").await.unwrap();
    let told: Vec<_> =
        ringing.iter().map(|alarm| (alarm.name.as_str(), alarm.reason.as_str())).collect();
    assert_eq!(told, [("shop-dev-backend-5xx", "12 over 10")]);
    // One alone, by its whole name. moto does not say since when.
    let alarms = Alarms::new(&clients);
    let state = alarms.state("shop-prod-backend-5xx").await.unwrap();
    let Some(AlarmState::Rings(alarm)) = state else { panic!("{state:?}") };
    assert_eq!(alarm.reason, "12 over 10");
    assert_eq!(alarms.state("shop-dev-backend").await.unwrap(), None);
}

/// The dead-man's switch is a schedule that AWS takes, and what it holds is a call that puts the weights back: made by hand here,
/// since moto fires nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_switch_is_a_schedule_that_puts_the_weights_back() {
    let Some(moto) = Moto::start().await else { return };
    topology(&moto).await;
    let clients = clients(&moto).await;
    let target = EcsTarget::new(&clients, PREFIX, &"backend".parse().unwrap());
    let switch = EcsSwitch::new(&target, ACCOUNT, "shop-dev-switch");
    let at = Timestamp::now().checked_add(jiff::SignedDuration::from_mins(2)).unwrap();
    let weights = Weights::all(Colour::Blue);
    let back = &Back::Weights(weights);
    assert_eq!(switch.put_off(back, at).await.unwrap(), PutOff::Gone);
    let armed = switch.arm(back, at).await.unwrap();
    assert_eq!((armed.name.as_str(), armed.at), ("shop-dev-backend-switch", at));
    assert!(armed.ahead.unwrap().as_secs().abs() < 60, "{armed:?}");
    target.set_weights(Weights::giving(Colour::Green, 10).unwrap()).await.unwrap();

    let get = ["scheduler", "get-schedule", "--name", "shop-dev-backend-switch"];
    let told = moto.aws().call(get).await;
    assert_eq!(told["ActionAfterCompletion"], "DELETE");
    assert_eq!(
        (&told["State"], &told["ScheduleExpressionTimezone"]),
        (&"ENABLED".into(), &"UTC".into())
    );
    assert_eq!(
        told["Target"]["Arn"],
        "arn:aws:scheduler:::aws-sdk:elasticloadbalancingv2:modifyRule"
    );
    assert_eq!(told["Target"]["RoleArn"], format!("arn:aws:iam::{ACCOUNT}:role/shop-dev-switch"));
    let later = at.checked_add(jiff::SignedDuration::from_mins(5)).unwrap();
    assert_eq!(switch.put_off(back, later).await.unwrap(), PutOff::Done);
    let put_off = moto.aws().call(get).await;
    assert_ne!(put_off["ScheduleExpression"], told["ScheduleExpression"]);
    assert_eq!(put_off["Target"], told["Target"], "what it does is as before");
    assert_eq!(switch.look().await.unwrap().unwrap().at.as_second(), later.as_second() + 1);
    assert!(switch.arm(back, later).await.is_ok(), "one that is there is armed anew");

    // As EventBridge would.
    let input = put_off["Target"]["Input"].as_str().unwrap();
    moto.aws().call(["elbv2", "modify-rule", "--cli-input-json", input]).await;
    assert_eq!(target.live().await.unwrap().weights, weights);
    assert!(switch.disarm().await.unwrap());
    assert!(!switch.disarm().await.unwrap());
    assert_eq!(switch.look().await.unwrap(), None);

    // Of tasks that ECS replaces, it asks for the old ones, whatever is under way.
    let tasks = Back::Tasks {
        colour: Colour::Blue,
        task_definition: TaskDefinition::new("shop-dev-backend:7"),
    };
    switch.arm(&tasks, at).await.unwrap();
    let told = moto.aws().call(get).await;
    assert_eq!(told["Target"]["Arn"], "arn:aws:scheduler:::aws-sdk:ecs:updateService");
    let input: serde_json::Value =
        serde_json::from_str(told["Target"]["Input"].as_str().unwrap()).unwrap();
    let expected = serde_json::json!({
        "Cluster": "shop-dev",
        "Service": "shop-dev-backend-blue",
        "TaskDefinition": "shop-dev-backend:7",
    });
    assert_eq!(input, expected);
    assert!(switch.disarm().await.unwrap());
}
