//! Calls OpenFaaS functions on their schedules.
