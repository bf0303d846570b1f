//! moto: a stand-in for AWS that knows regions, users, roles and policies.

use reqwest::Url;

use super::{PrivateBroker, http};

/// One moto, of one test: whether it requires policies is one for all.
pub(crate) struct Moto(PrivateBroker);

impl Moto {
    pub(crate) fn up(name: &str) -> Self {
        Self(PrivateBroker::up("moto", name))
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// Makes a user; gives access key and secret.
    pub(crate) async fn user(&self, name: &str) -> (String, String) {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        let key = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        (tag(&key, "AccessKeyId"), tag(&key, "SecretAccessKey"))
    }

    /// Makes a role; gives its ARN.
    pub(crate) async fn role(&self, name: &str) -> String {
        let trust = policy("sts:AssumeRoleWithWebIdentity");
        let asked = [("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
        tag(&self.iam(&[&[("Action", "CreateRole")], &asked[..]].concat()).await, "Arn")
    }

    /// Lets a user do this, and nothing else.
    pub(crate) async fn allow(&self, user: &str, actions: &str) {
        let policy = policy(actions);
        let asked = [("UserName", user), ("PolicyName", "p"), ("PolicyDocument", &policy)];
        // This request is nobody's, so nothing can be required while it is made.
        self.require("inf").await;
        self.iam(&[&[("Action", "PutUserPolicy")], &asked[..]].concat()).await;
        self.require_policies().await;
    }

    /// From now on each request must be signed by a user, and allowed to him.
    pub(crate) async fn require_policies(&self) {
        self.require("0").await;
    }

    async fn require(&self, after: &str) {
        let url = format!("{}/moto-api/reset-auth", self.endpoint());
        http().post(url).body(after.to_owned()).send().await.unwrap().error_for_status().unwrap();
    }

    async fn iam(&self, asked: &[(&str, &str)]) -> String {
        let asked = asked.iter().chain(&[("Version", "2010-05-08")]);
        let url = Url::parse_with_params(self.endpoint(), asked).unwrap();
        // Which of the services is asked is told by the signature, which nobody looks at.
        let signed = "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/iam/aws4_request, \
                      SignedHeaders=host, Signature=x";
        let answer = http().post(url).header("authorization", signed).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }
}

fn policy(actions: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{actions}","Resource":"*"}}]}}"#
    )
}

fn tag(xml: &str, name: &str) -> String {
    let (_, after) = xml.split_once(&format!("<{name}>")).unwrap();
    after.split_once("</").unwrap().0.to_owned()
}
