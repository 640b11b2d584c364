//! Requests that change the server: what a load may override, and the log settings.

use std::collections::BTreeMap;

use super::inference::log_settings_request::setting_value::ParameterChoice as Given;
use super::inference::log_settings_response::SettingValue;
use super::inference::log_settings_response::setting_value::ParameterChoice;
use super::inference::model_repository_parameter::ParameterChoice as LoadChoice;
use super::inference::{LogSettingsRequest, LogSettingsResponse, ModelRepositoryParameter};
use crate::service::{LoadOverrides, LogSettings};
use crate::status::Failure;

/// The parameters of a load request.
pub(super) fn overrides(
    parameters: BTreeMap<String, ModelRepositoryParameter>,
) -> Result<LoadOverrides, Failure> {
    let mut overrides = LoadOverrides::default();
    for (key, value) in parameters {
        match (key.strip_prefix("file:"), value.parameter_choice) {
            (None, Some(LoadChoice::StringParam(config))) if key == "config" => {
                overrides.config = Some(config)
            }
            (Some(path), Some(LoadChoice::BytesParam(bytes))) => {
                overrides.files.push((path.to_owned(), bytes))
            }
            _ => {
                return Err(Failure::Invalid(format!(
                    "unexpected load parameter '{key}': allowed are 'config' with a string and 'file:<path>' with bytes"
                )));
            }
        }
    }
    if overrides.config.is_none() && !overrides.files.is_empty() {
        return Err(Failure::Invalid(
            "'file:' parameters of a load need 'config' as well".to_owned(),
        ));
    }
    Ok(overrides)
}

/// Repositories have no names here, as with Triton.
pub(super) fn no_repository_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Failure::Unsupported("'repository_name' specification is not supported".to_owned()))
}

/// The settings with the request's in place; `None` if it has none.
pub(super) fn log_settings(
    request: LogSettingsRequest,
    mut log: LogSettings,
) -> Result<Option<LogSettings>, Failure> {
    if request.settings.is_empty() {
        return Ok(None);
    }
    for (key, value) in request.settings {
        match (key.as_str(), value.parameter_choice) {
            ("log_file", Some(Given::StringParam(file))) => log.log_file = file,
            ("log_format", Some(Given::StringParam(format))) => log.log_format = format,
            ("log_info", Some(Given::BoolParam(on))) => log.log_info = on,
            ("log_warning", Some(Given::BoolParam(on))) => log.log_warning = on,
            ("log_error", Some(Given::BoolParam(on))) => log.log_error = on,
            ("log_verbose_level", Some(Given::Uint32Param(level))) => log.log_verbose_level = level,
            _ => {
                return Err(Failure::Invalid(format!(
                    "unknown log setting '{key}', or a value of the wrong type"
                )));
            }
        }
    }
    Ok(Some(log))
}

/// The settings in force, as a message.
pub(super) fn log_response(log: LogSettings) -> LogSettingsResponse {
    let settings = [
        ("log_file", ParameterChoice::StringParam(log.log_file)),
        ("log_format", ParameterChoice::StringParam(log.log_format)),
        ("log_info", ParameterChoice::BoolParam(log.log_info)),
        ("log_warning", ParameterChoice::BoolParam(log.log_warning)),
        ("log_error", ParameterChoice::BoolParam(log.log_error)),
        ("log_verbose_level", ParameterChoice::Uint32Param(log.log_verbose_level)),
    ];
    let entry =
        |(key, value): (&str, _)| (key.to_owned(), SettingValue { parameter_choice: Some(value) });
    LogSettingsResponse { settings: settings.into_iter().map(entry).collect() }
}
