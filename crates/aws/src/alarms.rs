//! CloudWatch alarms.

use aws_sdk_cloudwatch::types::{AlarmType, StateValue};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use serde::Serialize;

use crate::{Action, AwsError, Clients};

/// An alarm in state ALARM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Why, as CloudWatch says.
    pub reason: String,
    /// Since when, where that is told.
    pub since: Option<Timestamp>,
}

/// How an alarm stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum AlarmState {
    /// OK.
    Quiet,
    /// ALARM.
    Rings(Alarm),
    /// INSUFFICIENT_DATA, or a state that this version does not know.
    Unknown,
}

/// CloudWatch alarms.
#[derive(Debug, Clone)]
pub struct Alarms {
    clients: Clients,
}

impl Alarms {
    /// The alarms that these clients reach.
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone() }
    }

    /// The alarms named `{prefix}-…` that are in ALARM, by name.
    pub async fn in_alarm(&self, prefix: &str) -> Result<Vec<Alarm>, AwsError> {
        let names = format!("{prefix}-");
        let resource = format!("alarms {names}…");
        let call = self.clients.call(Action::DescribeAlarms, &resource);
        let mut pages = self
            .clients
            .cloudwatch
            .describe_alarms()
            .alarm_name_prefix(&names)
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .state_value(StateValue::Alarm)
            .into_paginator()
            .send();
        let mut alarms = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            alarms.extend(page.metric_alarms().iter().map(|alarm| Alarm {
                name: alarm.alarm_name().unwrap_or_default().to_owned(),
                reason: alarm.state_reason().unwrap_or_default().to_owned(),
                since: since(alarm.state_transitioned_timestamp(), alarm.state_updated_timestamp()),
            }));
            alarms.extend(page.composite_alarms().iter().map(|alarm| Alarm {
                name: alarm.alarm_name().unwrap_or_default().to_owned(),
                reason: alarm.state_reason().unwrap_or_default().to_owned(),
                since: since(alarm.state_transitioned_timestamp(), alarm.state_updated_timestamp()),
            }));
        }
        alarms.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(alarms)
    }

    /// How the alarm of this whole name stands; none if there is no such alarm.
    pub async fn state(&self, name: &str) -> Result<Option<AlarmState>, AwsError> {
        let resource = format!("alarm {name}");
        let call = self.clients.call(Action::DescribeAlarms, &resource);
        let found = self
            .clients
            .cloudwatch
            .describe_alarms()
            .alarm_names(name)
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        let metric = found.metric_alarms().first().map(|alarm| {
            let since =
                since(alarm.state_transitioned_timestamp(), alarm.state_updated_timestamp());
            (alarm.state_value(), alarm.state_reason(), since)
        });
        let composite = found.composite_alarms().first().map(|alarm| {
            let since =
                since(alarm.state_transitioned_timestamp(), alarm.state_updated_timestamp());
            (alarm.state_value(), alarm.state_reason(), since)
        });
        Ok(metric.or(composite).map(|(state, reason, since)| match state {
            Some(StateValue::Ok) => AlarmState::Quiet,
            Some(StateValue::Alarm) => {
                let reason = reason.unwrap_or_default().to_owned();
                AlarmState::Rings(Alarm { name: name.to_owned(), reason, since })
            }
            _ => AlarmState::Unknown,
        }))
    }
}

/// When the state changed; "updated" alone also moves when only the reason does.
fn since(transitioned: Option<&DateTime>, updated: Option<&DateTime>) -> Option<Timestamp> {
    let at = transitioned.or(updated)?;
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}
