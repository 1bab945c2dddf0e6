//! What the filters of a connection manager make of a request, in their order: tokens, policies, faults, other origins.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_api::Spec;
use tidegate_api::istio::virtual_service::HttpRoute;
use tidegate_pilot::compile::authorization;
use tidegate_pilot::origins::{Origin, RouteOrigin};
use tidegate_proxy::config::listener::HttpManager;
use tidegate_proxy::filter::cors::{self, CorsPolicy};
use tidegate_proxy::filter::fault::{Failure, Faults};
use tidegate_proxy::filter::jwt::{self, Jwt, OnRoute, Requirement};
use tidegate_proxy::filter::{AnswerChange, Filter};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::rbac::RuleSet;
use tidegate_proxy::route::{Decision, Fraction, RouteTable};
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use crate::World;
use crate::answer::{Answer, Cors, End, Error, Part, Source, TokenJudged};
use crate::follow::Refusal;
use crate::handshake;
use crate::request::{RANDOM, Request, shown};

/// Where a request ends among the filters.
pub(crate) enum Stop {
    /// It is not let through; what would have been let through, where that can be said.
    Refused(Refusal, Option<String>),
    /// It is answered, or nobody can say here what becomes of it.
    Ended(End),
}

/// A filter that a request has come to.
struct At<'a, 't> {
    filter: &'a Filter,
    decision: Decision<'t>,
    /// The route configuration.
    table: &'a str,
}

impl World {
    /// Puts a request through the filters, with what they change in it; where it goes then, and what holds it up.
    pub(crate) fn pass<'t>(
        &self,
        (manager, table): (&HttpManager, &'t RouteTable),
        request: &mut Request<'_>,
        answer: &mut Answer,
    ) -> (Decision<'t>, Result<(), Stop>) {
        let mut decision = table.decide(&request.head, RANDOM);
        let name = &manager.routes.slot().name;
        for filter in &manager.filters {
            let at = At { filter, decision, table: name };
            match self.meet(&at, request, answer) {
                Ok(false) => {}
                // What tokens say may change the route.
                Ok(true) => decision = table.decide(&request.head, RANDOM),
                Err(stop) => return (decision, Err(stop)),
            }
        }
        (decision, Ok(()))
    }

    /// What one filter makes of a request: whether it is to be routed again.
    fn meet(
        &self,
        at: &At<'_, '_>,
        request: &mut Request<'_>,
        answer: &mut Answer,
    ) -> Result<bool, Stop> {
        let route = match at.decision {
            Decision::Route { route, .. } => Some(&**route),
            Decision::NoVirtualHost | Decision::NoRoute(_) => None,
        };
        if let Some(filter) = at.filter.tokens(route) {
            return self.verify(filter, request, answer);
        }
        if let Some(set) = at.filter.rules(route) {
            self.authorize(at.filter, set, request, answer)?;
        }
        if let Some(faults) = at.filter.faults(route) {
            self.fail(at, faults, &request.head, answer)?;
        }
        if let Some(policy) = at.filter.cors(route) {
            self.tell_origin(at, policy, &request.head, answer)?;
        }
        Ok(false)
    }

    /// What is made of the tokens of a request.
    fn verify(
        &self,
        (jwt, own): (&Jwt, Option<&OnRoute>),
        request: &mut Request<'_>,
        answer: &mut Answer,
    ) -> Result<bool, Stop> {
        let denied = |status: u16, reason: String| {
            Stop::Refused((Error::Denied, Some(status), reason), None)
        };
        let head = &mut request.head;
        if jwt.is_spared(head) {
            return Ok(false);
        }
        let needs = jwt.needs(head, own).map_err(|why| denied(403, why))?;
        if matches!(needs, Requirement::Nothing) {
            return Ok(false);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let listener = &request.connection.listener.name;
        let tokens = self.judge_tokens(jwt, listener, head, now);
        let judged = jwt.judge(needs, head, now, None);
        for (key, value) in judged.noted {
            head.noted.note(jwt::NAME, key, value);
        }
        // Who looks for a token and finds none has no part in it, unless that is what is wrong.
        let idle = |fault: &Option<jwt::Fault>| {
            matches!(fault, Some(jwt::Fault::Missing | jwt::Fault::Issuer))
        };
        let all = judged.verdict.is_err() && tokens.iter().all(|(fault, _)| idle(fault));
        let told = tokens.into_iter().filter(|(fault, _)| all || !idle(fault));
        answer.tokens.extend(told.map(|(_, told)| told));
        match judged.verdict {
            Ok(()) => Ok(judged.reroute),
            Err(jwt::Fault::Fetch) => {
                let reason = "the keys that the token would be verified with are fetched (jwksUri), which is not done for \
                              an answer like this: it is not known whether the token is good";
                Err(Stop::Ended(End::Undecided { reason: reason.to_owned() }))
            }
            Err(fault) => Err(denied(fault.status(), format!("no token lets it through: {fault}"))),
        }
    }

    /// What each rule of a RequestAuthentication makes of the tokens of a request, and what it finds wrong.
    fn judge_tokens(
        &self,
        jwt: &Jwt,
        listener: &str,
        head: &RequestHead,
        now: u64,
    ) -> Vec<(Option<jwt::Fault>, TokenJudged)> {
        let behind = self.behind(ResourceType::Listener, listener);
        let rules = behind.pilot.token_rules();
        // Where an EnvoyFilter adds others, nobody knows which is whose.
        let known = rules.len() == jwt.providers.len();
        let providers = jwt.providers.iter().enumerate();
        let told = providers.map(|(number, provider)| {
            let alone = Requirement::Of(number, None);
            let fault = jwt.judge(&alone, &mut head.clone(), now, None).verdict.err();
            let verdict = match fault {
                None => "the token is good".to_owned(),
                Some(jwt::Fault::Missing) => "there is no token where it looks for one".to_owned(),
                Some(jwt::Fault::Issuer) => "the token is of another issuer".to_owned(),
                Some(jwt::Fault::Fetch) => "its keys are fetched: not judged here".to_owned(),
                Some(fault) => format!("the token is refused: {fault}"),
            };
            let origin = rules.get(number).filter(|_| known);
            let from = origin.map(|origin| behind.source(origin)).into_iter().collect();
            (fault, TokenJudged { issuer: provider.issuer.to_string(), verdict, from })
        });
        told.collect()
    }

    /// Asks a filter of policies, or of client certificates, whether it lets a request through.
    fn authorize(
        &self,
        filter: &Filter,
        set: &RuleSet,
        request: &Request<'_>,
        answer: &mut Answer,
    ) -> Result<(), Stop> {
        let (question, connection) = (request.question, request.connection);
        let asked =
            handshake::asked(question, connection, Some((&request.head, request.client.ip())));
        if *filter.name == *authorization::HTTP_FILTER {
            let listener = &*connection.listener.name;
            let judged = self.judge(listener, set, (&asked, question), answer);
            return judged
                .map_err(|reason| Stop::Refused((Error::Denied, Some(403), reason), None));
        }
        let passes = set.rules.as_ref().is_none_or(|rules| rules.judge(&asked).is_ok());
        if passes { Ok(()) } else { Err(handshake::uncertified(question)) }
    }

    /// Tells of faults that are made on purpose.
    fn fail(
        &self,
        at: &At<'_, '_>,
        faults: &Faults,
        head: &RequestHead,
        answer: &mut Answer,
    ) -> Result<(), Stop> {
        if !faults.concern(head) {
            return Ok(());
        }
        let most = |most| format!(", at most {most} at the same time");
        let most = faults.most.map_or_else(String::new, most);
        if let Some(delay) = faults.delay.filter(|delay| delay.share.numerator > 0) {
            let asks = format!("{} waits {:?} first{most}", share(delay.share), delay.time);
            let delays =
                |rule: &HttpRoute| rule.fault.as_ref().is_some_and(|fault| fault.delay.is_some());
            let from = self.said_by(at, ".fault.delay", delays);
            answer.faults.push(Part { name: "delay".to_owned(), asks, from });
        }
        let Some(abort) = faults.abort.filter(|abort| abort.share.numerator > 0) else {
            return Ok(());
        };
        let status = abort.with.status();
        let grpc = match abort.with {
            Failure::Http(_) => String::new(),
            Failure::Grpc(status) => format!(", with grpc-status {status}"),
        };
        let asks = format!("{} is answered {status} instead{grpc}{most}", share(abort.share));
        let aborts =
            |rule: &HttpRoute| rule.fault.as_ref().is_some_and(|fault| fault.abort.is_some());
        let from = self.said_by(at, ".fault.abort", aborts);
        answer.faults.push(Part { name: "abort".to_owned(), asks, from });
        let always = abort.share.numerator >= abort.share.denominator && faults.most.is_none();
        if always { Err(Stop::Ended(End::Answered { status })) } else { Ok(()) }
    }

    /// Tells what becomes of a request from another origin.
    fn tell_origin(
        &self,
        at: &At<'_, '_>,
        policy: &CorsPolicy,
        head: &RequestHead,
        answer: &mut Answer,
    ) -> Result<(), Stop> {
        let origin = cors::origin(head);
        if origin.is_empty() || policy.enabled.is_some_and(|share| share.numerator == 0) {
            return Ok(());
        }
        if let Some(part) = policy.enabled.filter(|part| part.numerator < part.denominator) {
            answer.notes.push(format!("the CORS policy holds for {}", share(part)));
        }
        let allowed = policy.allows(&origin);
        let reply = policy.answers(head, &origin, allowed);
        let headers = match &reply {
            Some(reply) => {
                let lines = reply.headers.iter();
                lines.map(|(name, value)| ((*name).to_owned(), shown(value))).collect()
            }
            None if allowed => policy.tells(&origin).map(change).collect(),
            None => Vec::new(),
        };
        answer.cors = Some(Cors {
            origin: shown(&origin),
            allowed,
            preflight: cors::preflight(head).is_some(),
            headers,
            from: self.said_by(at, ".corsPolicy", |rule| rule.cors_policy.is_some()),
        });
        match reply {
            Some(reply) => Err(Stop::Ended(End::Answered { status: reply.status })),
            None => Ok(()),
        }
    }

    /// Where it stands what a route says to a filter: in its rule, in the one that leads to that, or in a patch.
    fn said_by(
        &self,
        at: &At<'_, '_>,
        field: &str,
        says: impl Fn(&HttpRoute) -> bool,
    ) -> Vec<Source> {
        let Decision::Route { virtual_host, route } = at.decision else { return Vec::new() };
        let name = virtual_host_name(at.table, &virtual_host.name);
        let behind = self.behind(ResourceType::VirtualHost, &name);
        let origins = behind.pilot.host_origins(at.table, &virtual_host.name).unwrap_or_default();
        let mut routes = virtual_host.routes().iter();
        let number = routes.position(|other| std::sync::Arc::ptr_eq(other, route));
        let origin = number.and_then(|number| origins.route(number));
        // The rule's own word counts before that of the one which leads to it.
        let parts = origin.map(RouteOrigin::parts).into_iter().flatten();
        let parts: Vec<&Origin> = parts.collect();
        let rules = parts.into_iter().rev().filter_map(|part| behind.rule(part));
        let found = rules.filter(|(_, rule)| says(rule)).map(|(origin, _)| origin).next();
        match found {
            Some(Origin { key, path }) => {
                vec![behind.source(&Origin { key, path: format!("{path}{field}") })]
            }
            None => self.patched(ResourceType::VirtualHost, &name, &at.filter.name),
        }
    }

    /// The rule that a part of a VirtualService belongs to, and where it stands.
    fn rule(&self, part: &Origin) -> Option<(Origin, &HttpRoute)> {
        let number = part.path.strip_prefix("spec.http[")?.split(']').next()?;
        let Spec::VirtualService(service) = &self.object(&part.key)?.spec else { return None };
        let rule = service.http.get(number.parse::<usize>().ok()?)?;
        Some((Origin::new(part.key.clone(), format_args!("http[{number}]")), rule))
    }
}

/// `every request` or `12.5% of requests`.
fn share(share: Fraction) -> String {
    if share.numerator >= share.denominator {
        return "every request".to_owned();
    }
    let percent = 100.0 * f64::from(share.numerator) / f64::from(share.denominator.max(1));
    format!("{percent}% of requests")
}

fn change(change: AnswerChange) -> (String, String) {
    let (AnswerChange::Set(name, value) | AnswerChange::Add(name, value)) = change;
    (name.to_owned(), shown(&value))
}
