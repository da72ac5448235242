//! What an error of SNS means.

use std::time::Duration;

use aws_sdk_sns::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::{Scope, Verdict, gate::kept_back};

/// What is waited after a throttle: SNS names no time.
const PAUSE: Duration = Duration::from_secs(1);

/// By error code, as one entry of a batch or the whole call has it.
pub fn of_code(code: &str, detail: String, sender: bool) -> Verdict {
    match code {
        "Throttled"
        | "ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "KMSThrottling"
        | "KMSThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => Verdict::Throttled { after: PAUSE, scope: Scope::target() },
        "InternalError" | "InternalFailure" | "InternalErrorException" | "ServiceUnavailable" => {
            Verdict::Ambiguous { detail }
        }
        "InvalidParameter"
        | "InvalidParameterValue"
        | "ParameterValueInvalid"
        | "ValidationException"
        | "BatchRequestTooLong"
        | "InvalidBatchEntryId" => Verdict::PermanentItem { detail },
        "RequestExpired" => Verdict::Transient { detail, after: None },
        _ if code.is_empty() && !sender => Verdict::Ambiguous { detail },
        // Credentials, policies, a topic or key that is gone: no message can succeed until a person mends it.
        _ => Verdict::PermanentTarget { detail },
    }
}

/// One entry that was refused while its neighbours were published.
pub fn of_entry(code: &str, message: &str, sender: bool) -> Verdict {
    let detail = format!("{code}: {message}");
    match of_code(code, detail.clone(), sender) {
        verdict @ (Verdict::Throttled { .. } | Verdict::PermanentItem { .. }) => verdict,
        // The neighbours were taken, so it is not the topic.
        _ if sender => Verdict::PermanentItem { detail },
        _ => Verdict::Transient { detail, after: None },
    }
}

/// A call that failed as a whole.
pub fn of_error<E>(error: &SdkError<E>) -> Verdict
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let detail = DisplayErrorContext(error).to_string();
    match error {
        SdkError::ConstructionFailure(_) => Verdict::PermanentTarget { detail },
        // No connection: nothing was sent. Anything later may have been.
        SdkError::DispatchFailure(failure) if failure.is_io() && detail.contains("(Connect)") => {
            Verdict::Transient { detail, after: None }
        }
        SdkError::DispatchFailure(_) if kept_back(error) => Verdict::Transient { detail, after: None },
        SdkError::DispatchFailure(failure) if failure.is_user() || detail.contains("credentials") => {
            Verdict::PermanentTarget { detail }
        }
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            match (error.code().unwrap_or_default(), status) {
                ("", 429) => Verdict::Throttled { after: PAUSE, scope: Scope::target() },
                (code, _) => of_code(code, detail, status < 500),
            }
        }
        _ => Verdict::Ambiguous { detail },
    }
}
