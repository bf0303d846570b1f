//! Calls OpenFaaS functions with the messages of NATS subjects and JetStream streams.
