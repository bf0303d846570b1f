//! Calls OpenFaaS functions with the records of Apache Kafka topics.
