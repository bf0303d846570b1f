//! A local stand-in for the OpenFaaS gateway, with scriptable faults and a ledger of every call.
