//! A small model of ECS behind a load balancer, for tests: time is tokio's, faults are data.
