//! An inspector below a path: prefixes that a router strips or keeps, and the slash at the end.

use super::*;

#[tokio::test]
async fn any_prefix_may_precede_the_address() {
    let service = inspector(&memory());
    for prefix in ["", "/_cache", "/admin/a:b"] {
        for (address, content_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/inspector.css", "text/css; charset=utf-8"),
            ("/inspector.js", "text/javascript; charset=utf-8"),
            ("/stats.json", "application/json"),
        ] {
            let answer = operator_get(&service, &format!("{prefix}{address}")).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some(content_type)));
        }
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn nested_router_redirects_to_the_slash() {
    use axum::Router;
    let app: Router = Router::new().nest_service("/_cache", inspector(&memory()));
    let app: Router = Router::new().nest("/admin", app.clone()).merge(app);
    let app = tower::util::BoxCloneService::new(tower::ServiceExt::<Request<axum::body::Body>>::map_request(
        app,
        |request: Request<Body>| request.map(axum::body::Body::new),
    ));
    for prefix in ["/_cache", "/admin/_cache"] {
        let redirected = send(&app, operator_request("GET", prefix, &[], "")).await;
        assert_eq!(
            (redirected.status.as_u16(), redirected.header("location")),
            (307, Some("./_cache/")),
            "{prefix}"
        );
        assert_eq!(send(&app, operator_request("GET", &format!("{prefix}/"), &[], "")).await.status, 200);
        let stats = send(&app, operator_request("GET", &format!("{prefix}/stats.json"), &[], "")).await;
        assert_eq!(json(&stats)["namespace"], "default");
        for address in ["", "/", "/stats.json", "/purge"] {
            assert_eq!(send(&app, get(&format!("{prefix}{address}"))).await.status, 404);
        }
    }
}
