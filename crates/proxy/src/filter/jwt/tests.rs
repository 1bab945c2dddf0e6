use serde_json::{Value as Json, json};

use super::*;
use crate::metadata::{Fields, Value};
use tidegate_testing::jwt::Signer;

const NOW: u64 = 1_000_000;

/// A provider of one key, of tokens in `authorization`.
fn provider(issuer: &str, signer: &Signer) -> Provider {
    let mut locations = Locations::default();
    locations.add(Place::header("authorization", "Bearer "), issuer);
    Provider {
        issuer: issuer.into(),
        audiences: Audiences::default(),
        subjects: None,
        longest: None,
        skew: 60,
        keys: Keys::Here(Arc::new(KeySet::parse(signer.set().as_bytes()).expect("a set"))),
        locations,
        uses: Uses::default(),
        cache: (10, 4096),
    }
}

fn filter(providers: Vec<Provider>) -> Jwt {
    Jwt {
        everywhere: Locations::all(providers.iter().map(|provider| &provider.locations)),
        providers,
        rules: Vec::new(),
        named: BTreeMap::new(),
        bypass_preflight: false,
        silent: false,
        stat_prefix: "".into(),
    }
}

fn head(tokens: &[&str]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_authority(b"a.b");
    head.set_path(b"/p?q");
    for token in tokens {
        head.headers.append(b"authorization", format!("Bearer {token}").as_bytes());
    }
    head
}

fn hs(signer: &Signer, claims: &Json) -> String {
    signer.token(&json!({"alg": "HS256"}), claims)
}

fn verdict(jwt: &Jwt, needs: &Requirement, tokens: &[&str]) -> Result<(), Fault> {
    jwt.judge(needs, &mut head(tokens), NOW, None).verdict
}

#[test]
fn a_token_must_be_its_issuers_in_time_and_for_us() {
    let signer = Signer::new("HS256");
    let mut of = provider("i", &signer);
    of.audiences = Audiences::new(["https://us/", "me"]);
    of.subjects = Some(TextMatch::Prefix(b"s".as_slice().into()));
    let jwt = filter(vec![of]);
    let good = json!({"iss": "i", "aud": "us", "sub": "s1"});
    let with = |changes: Json| {
        let mut claims = good.clone();
        let changes = changes.as_object().expect("claims").clone();
        claims.as_object_mut().expect("claims").extend(changes);
        verdict(&jwt, &Requirement::Of(0, None), &[&hs(&signer, &claims)])
    };
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": ["x", "http://me"]}), Ok(())),
        (json!({"aud": ["x"]}), Err(Fault::Audience)),
        (json!({"aud": []}), Err(Fault::Audience)),
        (json!({"iss": "j"}), Err(Fault::Issuer)),
        (json!({"sub": "t"}), Err(Fault::Verification)),
        (json!({"exp": NOW - 60}), Ok(())),
        (json!({"exp": NOW - 61}), Err(Fault::Expired)),
        (json!({"exp": 0}), Err(Fault::Expired)),
        (json!({"nbf": NOW + 60}), Ok(())),
        (json!({"nbf": NOW + 61}), Err(Fault::NotYetValid)),
    ] {
        assert_eq!(with(changes.clone()), expected, "{changes}");
    }
    let stranger = hs(&Signer::Secret(vec![1; 32]), &good);
    assert_eq!(verdict(&jwt, &Requirement::Of(0, None), &[&stranger]), Err(Fault::Verification));
    let other = Requirement::Of(0, Some(Audiences::new(["others"])));
    assert_eq!(verdict(&jwt, &other, &[&hs(&signer, &good)]), Err(Fault::Audience));
    assert_eq!(Fault::Audience.status(), 403);
}

#[test]
fn a_token_may_have_to_end_soon() {
    let signer = Signer::new("HS256");
    for (longest, claims, good) in [
        (Duration::MAX, json!({"exp": NOW + 1}), true),
        (Duration::MAX, json!({}), false),
        (Duration::from_secs(10), json!({"exp": NOW + 9}), true),
        (Duration::from_secs(10), json!({"exp": NOW + 10}), false),
        (Duration::from_secs(10), json!({}), false),
    ] {
        let jwt = filter(vec![Provider { longest: Some(longest), ..provider("", &signer) }]);
        let verdict = verdict(&jwt, &Requirement::Of(0, None), &[&hs(&signer, &claims)]);
        assert_eq!(verdict, if good { Ok(()) } else { Err(Fault::Verification) }, "{claims}");
    }
}

#[test]
fn requirements_are_met_together_or_one_by_one() {
    use Requirement::{All, Any, Nothing, Of, Spared};
    let (a, b) = (Signer::new("HS256"), Signer::Secret(vec![1; 32]));
    let jwt = filter(vec![
        Provider { uses: Uses { forward: true, ..Uses::default() }, ..provider("a", &a) },
        Provider { uses: Uses { forward: true, ..Uses::default() }, ..provider("b", &b) },
    ]);
    let of_a = &*hs(&a, &json!({"iss": "a"}));
    let of_b = &*hs(&b, &json!({"iss": "b"}));
    let forged = &*hs(&b, &json!({"iss": "a"}));
    let others = &*hs(&a, &json!({"iss": "c"}));
    let (one, two) = (Of(0, None), Of(1, None));
    let any = |spare| Any(vec![one.clone(), two.clone()], spare);
    let all = All(vec![any(None), Nothing]);
    let (missing, failed) = (Some(Spare::Missing), Some(Spare::Failed));
    for (needs, tokens, expected) in [
        (&Nothing, &["junk"][..], Ok(())),
        (&one, &[], Err(Fault::Missing)),
        (&one, &[of_a], Ok(())),
        (&one, &["junk"], Err(Fault::Format)),
        // Each of several must be good.
        (&one, &[of_a, of_a], Ok(())),
        (&one, &[of_a, forged], Err(Fault::Verification)),
        (&one, &[forged, of_a], Err(Fault::Verification)),
        (&any(None), &[of_b], Ok(())),
        (&any(None), &[], Err(Fault::Missing)),
        (&any(None), &[others], Err(Fault::Issuer)),
        (&any(None), &[forged], Err(Fault::Verification)),
        (&any(missing), &[], Ok(())),
        (&any(missing), &[others], Err(Fault::Issuer)),
        (&any(missing), &[forged], Err(Fault::Verification)),
        (&any(failed), &[forged], Ok(())),
        (&all, &[of_b], Ok(())),
        (&all, &[forged], Err(Fault::Verification)),
        (&All(vec![one.clone(), two.clone()]), &[of_a], Err(Fault::Issuer)),
        (&Spared(Spare::Missing), &[], Ok(())),
        (&Spared(Spare::Missing), &[of_a, of_b], Ok(())),
        (&Spared(Spare::Missing), &[of_a, forged], Err(Fault::Verification)),
        (&Spared(Spare::Missing), &[forged, of_a], Err(Fault::Verification)),
        (&Spared(Spare::Missing), &[others], Err(Fault::Issuer)),
        (&Spared(Spare::Failed), &[others, forged, "junk"], Ok(())),
    ] {
        assert_eq!(verdict(&jwt, needs, tokens), expected, "{needs:?} {tokens:?}");
    }
}

#[test]
fn what_a_token_says_is_told_to_those_behind() {
    let signer = Signer::new("HS256");
    let mut of = provider("i", &signer);
    let header = |name: &str, path: &str| (name.into(), path.split('.').map(Box::from).collect());
    of.uses = Uses {
        payload_header: Some("x-payload".into()),
        padded: true,
        claim_headers: ["s", "n", "f", "t", "l", "m.k", "z", "e", "no", "m.no.k", "break"]
            .map(|name| header(&format!("x-{name}"), name))
            .into(),
        payload_note: Some("payload".into()),
        header_note: Some("header".into()),
        lists: vec!["scope".into(), "n".into()],
        reroutes: true,
        ..Uses::default()
    };
    let claims = json!({
        "iss": "i", "scope": "a  b ", "s": "é", "n": 5, "f": -1.5, "t": true, "l": ["x"], "m": {"k": "v"},
        "z": null, "e": "", "break": "a\r\nb: c",
    });
    let token = hs(&signer, &claims);
    let jwt = filter(vec![of]);
    let mut head = head(&[&token]);
    for name in ["x-payload", "X-No", "x-break", "x-kept"] {
        head.headers.append(name.as_bytes(), b"forged");
    }
    let judged = jwt.judge(&Requirement::Of(0, None), &mut head, NOW, None);
    assert_eq!(judged.verdict, Ok(()));
    assert!(judged.reroute);
    let lines: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(_, name, value)| {
            (String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into())
        })
        .collect();
    let payload = token.split('.').nth(1).expect("a part");
    let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
    let expected = [
        ("x-kept", "forged"),
        ("x-payload", &padded),
        ("x-s", "é"),
        ("x-n", "5"),
        ("x-f", "-1.500000"),
        ("x-t", "true"),
        ("x-l", "WyJ4Il0="),
        ("x-m.k", "v"),
    ];
    let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(lines, expected);
    let noted: BTreeMap<_, _> =
        judged.noted.iter().map(|(key, value)| (&**key, value.clone())).collect();
    let Some(Value::Map(payload)) = noted.get("payload") else { panic!("{noted:?}") };
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(payload.get("scope"), Some(&Value::List(vec![text("a"), text("b")])));
    assert_eq!(payload.get("n"), Some(&Value::Number(5.0)));
    let alg = Value::Map(Arc::new(Fields::new(vec![("alg".into(), text("HS256"))])));
    assert_eq!(noted.get("header"), Some(&alg));
}

#[test]
fn what_the_client_says_in_a_providers_header_never_passes() {
    let signer = Signer::new("HS256");
    let mut other = provider("j", &signer);
    other.uses.claim_headers = vec![("x-role".into(), vec!["role".into()])];
    let jwt = filter(vec![provider("i", &signer), other]);
    for needs in [Requirement::Of(0, None), Requirement::Spared(Spare::Failed)] {
        let mut head = head(&[&hs(&signer, &json!({"iss": "i"}))]);
        head.headers.append(b"X-Role", b"admin");
        assert_eq!(jwt.judge(&needs, &mut head, NOW, None).verdict, Ok(()));
        assert_eq!(head.headers.get(b"x-role"), None);
        assert_eq!(head.headers.get(b"authorization"), None);
    }
}

#[test]
fn a_verified_token_is_not_verified_again_but_judged() {
    let signer = Signer::new("HS256");
    let jwt = filter(vec![provider("i", &signer)]);
    let caches = [RefCell::new(TokenCache::new(10, 4096))];
    let good = hs(&signer, &json!({"iss": "i", "exp": NOW}));
    let judge = |token: &str, now: u64| {
        let judged = jwt.judge(&Requirement::Of(0, None), &mut head(&[token]), now, Some(&caches));
        (judged.verdict, judged.cache_hits, judged.cache_misses)
    };
    assert_eq!(judge(&good, NOW), (Ok(()), 0, 1));
    assert_eq!(judge(&good, NOW), (Ok(()), 1, 0));
    assert_eq!(judge(&good, NOW + 61), (Err(Fault::Expired), 1, 0));
    // What does not verify is not kept, however often it comes.
    let forged = hs(&Signer::Secret(vec![1; 32]), &json!({"iss": "i"}));
    for _ in 0..2 {
        assert_eq!(judge(&forged, NOW), (Err(Fault::Verification), 0, 1));
    }
    let other = format!("{good}A");
    assert_eq!(judge(&other, NOW).1, 0);
}

#[test]
fn who_is_refused_is_told_what_for() {
    let jwt = filter(Vec::new());
    let mut asked = head(&[]);
    asked.set_path(format!("/\"{}", "a".repeat(MAX_REALM_PATH)).as_bytes());
    let reply = jwt.refuse(&asked, Fault::Expired);
    assert_eq!((reply.status, &*reply.body), (401, &b"Jwt is expired"[..]));
    assert_eq!(reply.details, "jwt_authn_access_denied{Jwt_is_expired}");
    let realm = format!("Bearer realm=\"http://a.b/{}\", error=\"invalid_token\"", "a".repeat(254));
    assert_eq!(reply.headers, [("www-authenticate", realm.into_bytes().into())]);
    let reply = jwt.refuse(&head(&[]), Fault::Missing);
    assert_eq!(reply.headers, [("www-authenticate", b"Bearer realm=\"http://a.b/p?q\"".into())]);
    let silent = Jwt { silent: true, ..jwt };
    let reply = silent.refuse(&asked, Fault::Audience);
    assert_eq!((reply.status, reply.body.len(), reply.headers.len()), (403, 0, 0));
    assert_eq!(silent.misled("x y").details, "jwt_authn_access_denied{x_y}");
}
