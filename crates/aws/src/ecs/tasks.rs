//! A colour's tasks, with as few calls as tell of them, and which of them should not have ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_ecs::types::{DesiredStatus, Service, Task, TaskStopCode};
use liftlock_rollout::{Colour, Death, TaskDefinition};

use super::{EcsTarget, look, same_revision};
use crate::{Action, AwsError, AwsErrorKind};

/// Tasks that have ended do not change any more: each is described once. Those that ECS forgot are forgotten here, too.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<BTreeMap<Colour, BTreeMap<String, Task>>>);

impl Ended {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Colour, BTreeMap<String, Task>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these that are known, and the names of the others.
    fn known(&self, colour: Colour, arns: Vec<String>) -> (Vec<Task>, Vec<String>) {
        let all = self.all();
        let known = |arn: &String| all.get(&colour).and_then(|tasks| tasks.get(arn)).cloned();
        let (mut tasks, mut others) = (Vec::new(), Vec::new());
        for arn in arns {
            match known(&arn) {
                Some(task) => tasks.push(task),
                None => others.push(arn),
            }
        }
        (tasks, others)
    }

    /// Of what was just described. A task that is still on its way out is described again: its exit code comes at its end.
    fn keep(&self, colour: Colour, tasks: &[Task]) {
        let ended = tasks.iter().filter(|task| task.last_status() == Some("STOPPED"));
        let by_arn = ended.filter_map(|task| Some((task.task_arn.clone()?, task.clone())));
        self.all().insert(colour, by_arn.collect());
    }
}

impl EcsTarget {
    /// Those that run or are on their way, of the blue and the green service, described with one call.
    pub(super) async fn running(
        &self,
        blue: &Service,
        green: &Service,
    ) -> Result<(Vec<Task>, Vec<Task>), AwsError> {
        let list = async |colour, service| match look::is_empty(service) {
            true => Ok(Vec::new()),
            false => self.list(colour, DesiredStatus::Running).await,
        };
        let (blue, green) = tokio::try_join!(list(Colour::Blue, blue), list(Colour::Green, green))?;
        let tasks = self.describe(&[blue.as_slice(), &green].concat()).await?;
        let is_blue = |task: &Task| task.task_arn.as_ref().is_some_and(|arn| blue.contains(arn));
        Ok(tasks.into_iter().partition(is_blue))
    }

    /// Those that ended, or are about to: ECS tells of them for about an hour.
    pub(super) async fn stopped(&self, colour: Colour) -> Result<Vec<Task>, AwsError> {
        let arns = self.list(colour, DesiredStatus::Stopped).await?;
        let (mut tasks, others) = self.ended.known(colour, arns);
        tasks.extend(self.describe(&others).await?);
        self.ended.keep(colour, &tasks);
        Ok(tasks)
    }

    /// Those of a revision that should have run, newest first, without what they wrote.
    pub(super) async fn dead(
        &self,
        colour: Colour,
        revision: &TaskDefinition,
    ) -> Result<Vec<Death>, AwsError> {
        let dead = dead(self.stopped(colour).await?, revision.as_str());
        let told = dead.iter().map(|task| Death {
            task: id(task).to_owned(),
            why: why(task),
            log: Vec::new(),
            no_log: None,
        });
        Ok(told.collect())
    }

    async fn list(&self, colour: Colour, status: DesiredStatus) -> Result<Vec<String>, AwsError> {
        let name = self.name(colour);
        let resource = format!("tasks of service {name} in cluster {}", self.prefix);
        let call = self.clients.call(Action::ListTasks, &resource);
        let request = self.clients.ecs.list_tasks();
        let request = request.cluster(&self.prefix).service_name(&name).desired_status(status);
        let mut pages = request.into_paginator().send();
        let mut arns = Vec::new();
        while let Some(page) = pages.next().await {
            arns.extend(page.map_err(|error| call.failed(error))?.task_arns.unwrap_or_default());
        }
        Ok(arns)
    }

    /// No call where there is nothing to describe.
    async fn describe(&self, arns: &[String]) -> Result<Vec<Task>, AwsError> {
        let resource = format!("tasks of service {} in cluster {}", self.service, self.prefix);
        let call = self.clients.call(Action::DescribeTasks, &resource);
        let mut tasks = Vec::new();
        // ECS describes at most 100 tasks at once.
        for arns in arns.chunks(100) {
            let request = self.clients.ecs.describe_tasks().cluster(&self.prefix);
            let answer = request.set_tasks(Some(arns.to_vec())).send().await;
            match answer.map_err(|error| call.failed(error)) {
                Ok(answer) => tasks.extend(answer.tasks.unwrap_or_default()),
                // They were forgotten between the two calls.
                Err(error) if error.kind() == AwsErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }
}

/// Pure: those of a revision that should have run, newest first. What ECS stopped by plan is no death.
pub(super) fn dead(mut stopped: Vec<Task>, revision: &str) -> Vec<Task> {
    let ours =
        |task: &Task| task.task_definition_arn().is_some_and(|arn| same_revision(arn, revision));
    stopped.retain(|task| ours(task) && unplanned(task));
    let at = |task: &Task| task.stopped_at().map(|at| (at.secs(), at.subsec_nanos()));
    stopped.sort_by_key(|task| std::cmp::Reverse(at(task)));
    stopped
}

fn unplanned(task: &Task) -> bool {
    match task.stop_code() {
        Some(TaskStopCode::EssentialContainerExited | TaskStopCode::TaskFailedToStart) => true,
        // The scheduler stops tasks by plan, and those whose health checks fail.
        Some(TaskStopCode::ServiceSchedulerInitiated) => {
            task.stopped_reason().is_some_and(|reason| reason.contains("health checks"))
        }
        _ => false,
    }
}

/// Why it stopped, and how its containers ended, in one line.
pub(super) fn why(task: &Task) -> String {
    let mut text = task.stopped_reason().unwrap_or("no reason given").to_owned();
    for container in task.containers() {
        let name = container.name().unwrap_or("?");
        if let Some(code) = container.exit_code() {
            text.push_str(&format!("; container {name} exited with {code}"));
        }
        if let Some(reason) = container.reason() {
            text.push_str(&format!("; container {name}: {reason}"));
        }
    }
    text
}

/// The last part of its ARN.
pub(super) fn id(task: &Task) -> &str {
    task.task_arn().unwrap_or("?").rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    fn task(id: &str, revision: &str, stopped: i64, code: TaskStopCode) -> Task {
        Task::builder()
            .task_arn(format!("arn:aws:ecs:eu-central-1:1:task/shop-dev/{id}"))
            .task_definition_arn(format!("arn:aws:ecs:eu-central-1:1:task-definition/{revision}"))
            .stopped_at(DateTime::from_secs(stopped))
            .stop_code(code)
            .build()
    }

    #[test]
    fn only_deaths_of_the_revision_count_newest_first() {
        let exited = TaskStopCode::EssentialContainerExited;
        let all = vec![
            task("a", "web:7", 1, exited.clone()),
            task("b", "web:8", 2, exited.clone()),
            task("c", "web:8", 9, TaskStopCode::ServiceSchedulerInitiated),
            task("d", "web:8", 4, TaskStopCode::TaskFailedToStart),
            task("e", "web:8", 3, exited),
        ];
        let seen = dead(all, "web:8");
        assert_eq!(seen.iter().map(id).collect::<Vec<_>>(), ["d", "e", "b"]);
    }

    #[test]
    fn a_task_that_is_still_ending_is_not_kept() {
        let status = |id: &str, status: &str| {
            let mut task = task(id, "web:8", 1, TaskStopCode::EssentialContainerExited);
            task.last_status = Some(status.to_owned());
            task
        };
        let (ended, blue) = (Ended::default(), Colour::Blue);
        let tasks = [status("a", "STOPPED"), status("b", "DEPROVISIONING")];
        let arns: Vec<_> = tasks.iter().filter_map(|task| task.task_arn.clone()).collect();
        ended.keep(blue, &tasks);
        let (known, others) = ended.known(blue, arns.clone());
        assert_eq!(known.iter().map(id).collect::<Vec<_>>(), ["a"]);
        assert_eq!(others, arns[1..]);
        assert_eq!(
            ended.known(Colour::Green, arns.clone()).1,
            arns,
            "the other colour's are others"
        );
        // ECS tells of it no more.
        ended.keep(blue, &[]);
        assert_eq!(ended.known(blue, arns.clone()).1, arns);
    }
}
