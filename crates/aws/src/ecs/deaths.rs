//! How tasks ended that should have run, and what they said last, by ECS and CloudWatch Logs.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::config::{Builder, Region};
use aws_sdk_ecs::types::{
    ContainerDefinition, LogDriver, Task, TaskDefinition as Revision, TaskStopCode,
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use liftlock_environment::Mask;
use liftlock_rollout::{Colour, DEATHS_TOLD, Death, LAST_LINES, TaskDefinition};
use secrecy::SecretString;

use super::EcsTarget;
use super::tasks::{dead, id, why};
use crate::{Action, AwsError, AwsErrorKind, SsmParameters};

/// Longer lines are cut.
const LONGEST: usize = 300;
/// A log arrives a moment after the end of its task: how often it is looked for, and how long between.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);
/// A task that ended so many seconds ago has its log by now.
const SETTLED: i64 = 20;

impl EcsTarget {
    pub(super) async fn newest_deaths(
        &self,
        colour: Colour,
        revision: &TaskDefinition,
    ) -> Result<Vec<Death>, AwsError> {
        let mut dead = dead(self.stopped(colour).await?, revision.as_str());
        dead.truncate(DEATHS_TOLD);
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let known = match self.definition(revision).await {
            Ok(definition) => self.mask(&definition).await.map(|mask| (definition, mask)),
            Err(error) => Err(error.to_string()),
        };
        let mut deaths = Vec::new();
        for task in &dead {
            let log = match &known {
                Ok((definition, mask)) => self.last_lines(task, definition, mask).await,
                Err(why) => Err(why.clone()),
            };
            let (log, no_log) = match log {
                Ok(lines) => (lines, None),
                Err(why) => (Vec::new(), Some(why)),
            };
            deaths.push(Death { task: id(task).to_owned(), why: end(task), log, no_log });
        }
        Ok(deaths)
    }

    async fn definition(&self, revision: &TaskDefinition) -> Result<Revision, AwsError> {
        let call = self.clients.call(Action::DescribeTaskDefinition, revision.as_str());
        let request = self.clients.ecs.describe_task_definition();
        let answer = request.task_definition(revision.as_str()).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        answer.task_definition.ok_or_else(|| {
            call.because(AwsErrorKind::NotFound, None, "there is no such task definition")
        })
    }

    /// What must not be shown: the values of the tasks' own secrets, and those that the environment's files name. Where one of
    /// the former cannot be read, a log that may hold it is not shown.
    async fn mask(&self, definition: &Revision) -> Result<Mask, String> {
        let mut values: Vec<SecretString> = match &self.known {
            Some(known) => known.values().await,
            None => Vec::new(),
        };
        let store = SsmParameters::new(&self.clients);
        for name in parameters(definition) {
            let value = store.get(&name).await;
            values.push(value.map_err(|error| {
                format!("it may hold a secret of the task, which cannot be read to leave it out: {error}")
            })?);
        }
        Ok(Mask::of(&values))
    }

    /// The error says why there are none.
    async fn last_lines(
        &self,
        task: &Task,
        definition: &Revision,
        mask: &Mask,
    ) -> Result<Vec<String>, String> {
        if task.stop_code() == Some(&TaskStopCode::TaskFailedToStart) {
            return Err("it never started".to_owned());
        }
        let stream = stream(task, definition, self.service.as_str())?;
        let mut looks = 1;
        loop {
            let settled = looks >= LOOKS || stopped_since(task).is_none_or(|s| s > SETTLED);
            match self.events(&stream).await {
                Ok(lines) if !lines.is_empty() || settled => {
                    let from = lines.len().saturating_sub(LAST_LINES);
                    let lines: Vec<_> =
                        lines[from..].iter().map(|line| mask.line(line, LONGEST)).collect();
                    let silent = || format!("it wrote nothing into {stream}");
                    return if lines.is_empty() { Err(silent()) } else { Ok(lines) };
                }
                Err(error) if settled || error.kind() != AwsErrorKind::NotFound => {
                    return Err(error.to_string());
                }
                Ok(_) | Err(_) => {}
            }
            looks += 1;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// The last lines of a stream, oldest first.
    async fn events(&self, stream: &Stream) -> Result<Vec<String>, AwsError> {
        let resource = stream.to_string();
        let call = self.clients.call(Action::GetLogEvents, &resource);
        let limit = i32::try_from(LAST_LINES).unwrap_or(i32::MAX);
        let request = self.clients.logs.get_log_events();
        let request = request.log_group_name(&stream.group).log_stream_name(&stream.name);
        let request = request.limit(limit).start_from_head(false);
        let there = Builder::new().region(stream.region.clone().map(Region::new));
        let answer = match &stream.region {
            Some(region) if region != self.clients.region() => {
                request.customize().config_override(there).send().await
            }
            _ => request.send().await,
        };
        let answer = answer.map_err(|error| call.failed(error))?;
        let messages = answer.events().iter().filter_map(|event| event.message());
        let lines = messages.flat_map(str::lines).filter(|line| !line.trim().is_empty());
        Ok(lines.map(str::to_owned).collect())
    }
}

/// Where a container's output is kept.
#[derive(Debug, PartialEq, Eq)]
struct Stream {
    group: String,
    name: String,
    region: Option<String>,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log stream {} of {}", self.name, self.group)
    }
}

fn end(task: &Task) -> String {
    let code = task.stop_code().map(|code| format!("{}: ", code.as_str()));
    format!("{}{}", code.unwrap_or_default(), why(task))
}

fn stopped_since(task: &Task) -> Option<i64> {
    task.stopped_at().map(|at: &DateTime| Timestamp::now().as_second() - at.secs())
}

/// The names of the parameters whose values a revision's tasks get as secrets. Those of Secrets Manager are not for Liftlock to read.
fn parameters(definition: &Revision) -> Vec<String> {
    let all = definition.container_definitions().iter().flat_map(|one| one.secrets());
    all.map(|secret| secret.value_from())
        .filter(|from| !from.contains(":secretsmanager:"))
        .map(|from| from.split_once(":parameter").map_or(from, |(_, name)| name).to_owned())
        .collect()
}

/// Where the container that ended badly writes, or the service's own where none did.
fn stream(task: &Task, definition: &Revision, service: &str) -> Result<Stream, String> {
    let bad = task.containers().iter().find(|one| one.exit_code().is_some_and(|code| code != 0));
    let container = bad.and_then(|one| one.name()).unwrap_or(service);
    let named = |one: &&ContainerDefinition| one.name() == Some(container);
    let found = definition.container_definitions().iter().find(named);
    let log = found.and_then(|one| one.log_configuration()).ok_or_else(|| {
        format!(
            "the task definition keeps none of container {container}: it has no logConfiguration"
        )
    })?;
    if log.log_driver() != &LogDriver::Awslogs {
        let driver = log.log_driver().as_str();
        return Err(format!(
            "container {container} logs by {driver}, which cannot be read from here"
        ));
    }
    let option = |name: &str| log.options().and_then(|options| options.get(name)).cloned();
    let missing =
        |name: &str| format!("the logConfiguration of container {container} has no {name}");
    let group = option("awslogs-group").ok_or_else(|| missing("awslogs-group"))?;
    let prefix = option("awslogs-stream-prefix").ok_or_else(|| missing("awslogs-stream-prefix"))?;
    let name = format!("{prefix}/{container}/{}", id(task));
    Ok(Stream { group, name, region: option("awslogs-region") })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{Container, LogConfiguration, Secret};

    use super::*;

    fn task(id: &str, revision: &str, stopped: i64, code: TaskStopCode) -> Task {
        Task::builder()
            .task_arn(format!("arn:aws:ecs:eu-central-1:1:task/shop-dev/{id}"))
            .task_definition_arn(format!("arn:aws:ecs:eu-central-1:1:task-definition/{revision}"))
            .stopped_at(DateTime::from_secs(stopped))
            .stop_code(code)
            .stopped_reason("Essential container in task exited")
            .containers(Container::builder().name("web").exit_code(1).build())
            .build()
    }

    fn definition(log: Option<LogConfiguration>) -> Revision {
        let secret =
            |name: &str, from: &str| Secret::builder().name(name).value_from(from).build().unwrap();
        let parameter = "arn:aws:ssm:eu-central-1:1:parameter/shop/dev/database-url";
        let managed = "arn:aws:secretsmanager:eu-central-1:1:secret:key-abc";
        let web = ContainerDefinition::builder()
            .name("web")
            .secrets(secret("DATABASE_URL", parameter))
            .secrets(secret("PLAIN", "/shop/dev/plain"))
            .secrets(secret("KEY", managed))
            .set_log_configuration(log);
        Revision::builder().container_definitions(web.build()).build()
    }

    fn driver(driver: LogDriver) -> LogConfiguration {
        let log = LogConfiguration::builder().log_driver(driver);
        let log = log.options("awslogs-group", "/shop/dev/web");
        log.options("awslogs-stream-prefix", "task").build().unwrap()
    }

    #[test]
    fn an_end_has_its_stop_code() {
        assert_eq!(
            end(&task("d", "web:8", 4, TaskStopCode::EssentialContainerExited)),
            "EssentialContainerExited: Essential container in task exited; container web exited with 1"
        );
    }

    #[test]
    fn a_container_that_keeps_no_log_says_so() {
        let dead = task("0a1b", "web:8", 1, TaskStopCode::EssentialContainerExited);
        let found_in = |log| stream(&dead, &definition(log), "web");
        let found = found_in(Some(driver(LogDriver::Awslogs))).unwrap();
        assert_eq!(found.to_string(), "log stream task/web/0a1b of /shop/dev/web");
        assert!(found_in(None).unwrap_err().contains("it has no logConfiguration"));
        assert!(found_in(Some(driver(LogDriver::Splunk))).unwrap_err().contains("logs by splunk"));
    }

    #[test]
    fn secrets_are_parameters_that_the_tasks_get() {
        assert_eq!(parameters(&definition(None)), ["/shop/dev/database-url", "/shop/dev/plain"]);
    }
}
