//! The tenants of every file, by name.

use std::collections::HashMap;

use crate::{
    config::{source::Span, wire::TenantWire},
    model::TenantName,
};

/// The tenants of every file, by name: nothing where one has a problem of its own.
pub(super) type TenantsByName<'w> = HashMap<&'w TenantName, (Span, Option<&'w TenantWire>)>;
