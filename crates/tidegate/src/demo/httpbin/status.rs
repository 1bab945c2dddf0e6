//! `/status/N`: any status, one teapot.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::{Body, plain, typed};

/// What httpbin.org sends with 418: 135 bytes.
const TEAPOT: &str = r#"
    -=[ teapot ]=-

       _...._
     .'  _ _ `.
    | ."` ^ `". _,
    \_;`"---"`|//
      |       ;/
      \_     _/
        `"""`
"#;

/// Answers with one of `codes`: `503`, or `200,503` or `200:0.9,503:0.1` with weights.
pub fn answer(codes: &str) -> Response<Body> {
    let Some(status) = choose(codes) else {
        return plain(StatusCode::BAD_REQUEST, "not a status between 200 and 599\n");
    };
    let (field, value, body) = match status.as_u16() {
        301..=303 | 305 | 307 | 308 => (header::LOCATION, "/redirect/1", ""),
        401 => (header::WWW_AUTHENTICATE, "Basic realm=\"demo\"", ""),
        407 => (header::PROXY_AUTHENTICATE, "Basic realm=\"demo\"", ""),
        418 => {
            (HeaderName::from_static("x-more-info"), "http://tools.ietf.org/html/rfc2324", TEAPOT)
        }
        _ => (header::CONTENT_TYPE, "text/html; charset=utf-8", ""),
    };
    let mut answer = typed("text/html; charset=utf-8", body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(field, HeaderValue::from_static(value));
    answer
}

/// One of the codes, each as likely as its weight says. Interim statuses (1xx) are no answers.
fn choose(codes: &str) -> Option<StatusCode> {
    let choices: Vec<(StatusCode, f64)> = codes.split(',').map(choice).collect::<Option<_>>()?;
    let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut point = fastrand::f64() * total;
    for (status, weight) in &choices {
        if point < *weight {
            return Some(*status);
        }
        point -= weight;
    }
    choices.last().map(|(status, _)| *status)
}

fn choice(text: &str) -> Option<(StatusCode, f64)> {
    let (code, weight) = text.split_once(':').unwrap_or((text, "1"));
    let code = code.trim().parse().ok().filter(|code| (200..600).contains(code))?;
    let weight = weight.trim().parse().ok().filter(|weight| *weight >= 0.0)?;
    Some((StatusCode::from_u16(code).ok()?, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teapot_is_httpbin_s() {
        assert_eq!(TEAPOT.len(), 135);
    }

    #[test]
    fn chooses_by_weight_and_refuses_what_is_no_answer() {
        assert_eq!(choose("503"), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(choose("200:1,503:0"), Some(StatusCode::OK));
        for wrong in ["", "x", "100", "600", "200,", "200:-1", "200:x"] {
            assert_eq!(choose(wrong), None, "{wrong}");
        }
    }
}
