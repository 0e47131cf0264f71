//! Task definitions as data: pure.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{ContainerDefinition, KeyValuePair, TaskDefinition as Revision};
use liftlock_model::ImageRef;

/// The revision that runs `image` with `environment` set, made from the base that Terraform owns. `None` when the base has no container
/// of that name.
pub(super) fn wanted(
    base: &Revision,
    container: &str,
    image: &ImageRef,
    environment: &BTreeMap<String, String>,
) -> Option<Revision> {
    let mut revision = base.clone();
    let containers = revision.container_definitions.as_mut()?;
    let ours = containers.iter_mut().find(|c| c.name() == Some(container))?;
    ours.image = Some(image.to_string());
    let variables = ours.environment.get_or_insert_default();
    variables.retain(|v| v.name().is_none_or(|name| !environment.contains_key(name)));
    variables.extend(
        environment.iter().map(|(name, v)| KeyValuePair::builder().name(name).value(v).build()),
    );
    Some(revision)
}

/// True when two revisions run the same, whatever they are called and in whatever order AWS tells their parts.
pub(super) fn same(a: &Revision, b: &Revision) -> bool {
    essence(a) == essence(b)
}

/// A revision without what AWS adds to it, in a fixed order.
fn essence(revision: &Revision) -> Revision {
    let mut containers = revision.container_definitions().to_vec();
    containers.iter_mut().for_each(sort);
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let mut compatibilities = revision.requires_compatibilities().to_vec();
    compatibilities.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Revision::builder()
        .set_container_definitions(Some(containers))
        .set_requires_compatibilities(Some(compatibilities))
        .set_volumes(Some(revision.volumes().to_vec()))
        .set_placement_constraints(Some(revision.placement_constraints().to_vec()))
        .set_task_role_arn(revision.task_role_arn.clone())
        .set_execution_role_arn(revision.execution_role_arn.clone())
        .set_network_mode(revision.network_mode.clone())
        .set_runtime_platform(revision.runtime_platform.clone())
        .set_cpu(revision.cpu.clone())
        .set_memory(revision.memory.clone())
        .set_pid_mode(revision.pid_mode.clone())
        .set_ipc_mode(revision.ipc_mode.clone())
        .set_proxy_configuration(revision.proxy_configuration.clone())
        .set_ephemeral_storage(revision.ephemeral_storage.clone())
        .set_enable_fault_injection(revision.enable_fault_injection)
        .build()
}

fn sort(container: &mut ContainerDefinition) {
    // None at all and an empty list are the same.
    container.environment.get_or_insert_default().sort_by(|a, b| a.name.cmp(&b.name));
    container.secrets.get_or_insert_default().sort_by(|a, b| a.name.cmp(&b.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digit: &str) -> ImageRef {
        format!("registry.example/shop@sha256:{}", digit.repeat(64)).parse().unwrap()
    }

    fn variable(name: &str, value: &str) -> KeyValuePair {
        KeyValuePair::builder().name(name).value(value).build()
    }

    fn base() -> Revision {
        let ours = ContainerDefinition::builder()
            .name("backend")
            .image("registry.example/shop:base")
            .environment(variable("PORT", "8080"))
            .environment(variable("RELEASE_ID", "none"));
        let beside = ContainerDefinition::builder().name("logs").image("registry.example/logs:1");
        Revision::builder()
            .family("shop-dev-backend-base")
            .revision(3)
            .cpu("256")
            .container_definitions(ours.build())
            .container_definitions(beside.build())
            .build()
    }

    fn release(id: &str) -> BTreeMap<String, String> {
        [("RELEASE_ID".to_owned(), id.to_owned())].into()
    }

    #[test]
    fn only_the_image_and_the_named_variables_of_our_container_change() {
        let revision = wanted(&base(), "backend", &image("a"), &release("rel-1")).unwrap();
        let [ours, beside] = revision.container_definitions() else { panic!("two containers") };
        assert_eq!(ours.image(), Some(image("a").to_string().as_str()));
        assert_eq!(ours.environment(), [variable("PORT", "8080"), variable("RELEASE_ID", "rel-1")]);
        assert_eq!(beside, &base().container_definitions()[1]);
        assert_eq!(wanted(&base(), "frontend", &image("a"), &release("rel-1")), None);
    }

    #[test]
    fn the_same_release_is_recognised_in_another_order() {
        let one = wanted(&base(), "backend", &image("a"), &release("rel-1")).unwrap();
        let mut other = one.clone();
        other.revision = 9;
        other.family = Some("shop-dev-backend".into());
        other.container_definitions.as_mut().unwrap().reverse();
        other.container_definitions.as_mut().unwrap()[1].environment.as_mut().unwrap().reverse();
        assert!(same(&one, &other));
        other.cpu = Some("512".into());
        assert!(!same(&one, &other), "the base changed");
        let next = wanted(&base(), "backend", &image("a"), &release("rel-2")).unwrap();
        assert!(!same(&one, &next));
    }
}
