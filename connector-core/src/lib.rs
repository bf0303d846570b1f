//! What every Tributary connector shares: from a received event to its verdict.
