//! Calls OpenFaaS functions with the messages of MQTT topics.
