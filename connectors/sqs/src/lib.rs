//! Calls OpenFaaS functions with the messages of Amazon SQS queues.
