# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# Who may talk to whom: a CA, the serving certificates, and one token per client. Made anew for every cluster.
# To be sourced after lib.sh and network.sh.

CREDENTIALS=$STATE/credentials

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$CREDENTIALS/$1.key"; }

new_ca() {
    new_key ca
    openssl req -x509 -new -key "$CREDENTIALS/ca.key" -subj /CN=local-cluster -days 3650 -out "$CREDENTIALS/ca.crt"
}

new_certificate() { # NAME SUBJECT USAGE SUBJECT_ALT_NAMES
    new_key "$1"
    openssl req -new -key "$CREDENTIALS/$1.key" -subj "$2" -out "$CREDENTIALS/$1.csr"
    openssl x509 -req -in "$CREDENTIALS/$1.csr" -CA "$CREDENTIALS/ca.crt" -CAkey "$CREDENTIALS/ca.key" \
        -set_serial "0x$(random_hex 8)" -days 3650 -out "$CREDENTIALS/$1.crt" 2>/dev/null \
        -extfile <(printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4")
    rm "$CREDENTIALS/$1.csr"
}

random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Adds a user: a line of the API server's token file, and a kubeconfig.
new_user() { # FILE USER GROUPS
    local token
    token=$(random_hex 16)
    echo "$token,$2,$2,\"$3\"" >>"$CREDENTIALS/tokens.csv"
    echo "$token" >"$CREDENTIALS/$1.token"
    cat >"$CREDENTIALS/$1.kubeconfig" <<EOT
apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: https://$(url_host "$API_ADDRESS"):6443
    certificate-authority-data: $(base64 -w0 "$CREDENTIALS/ca.crt")
users:
- name: $1
  user:
    token: $token
contexts:
- name: local
  context: {cluster: local, user: $1}
current-context: local
EOT
}

# Wants API_ADDRESS. The kubelets' certificates are made by node_credentials.
cluster_credentials() {
    rm -rf "$CREDENTIALS"
    mkdir -m 700 "$CREDENTIALS"
    new_ca
    new_key service-accounts
    new_certificate api-server /CN=kube-apiserver serverAuth \
        "IP:$API_ADDRESS,IP:$(api_service_address),IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    new_certificate api-server-to-kubelet /O=system:masters/CN=kube-apiserver clientAuth DNS:kube-apiserver
    new_user admin admin system:masters
    new_user controller-manager system:kube-controller-manager ""
    new_user scheduler system:kube-scheduler ""
    new_user proxy system:kube-proxy ""
    new_user multus system:serviceaccount:kube-system:multus system:serviceaccounts
}

node_credentials() { # NUMBER ADDRESSES
    new_certificate "node$1" "/O=system:nodes/CN=system:node:node$1" serverAuth "IP:${2//,/,IP:},DNS:node$1"
    new_user "node$1" "system:node:node$1" system:nodes
}
