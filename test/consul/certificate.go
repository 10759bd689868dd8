package consul

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// authority signs the certificates of one agent's story.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// certify makes an authority, the agent's certificate and a client's.
func (a *Agent) certify() error {
	a.CAFile = a.file("ca.pem")
	a.CertFile = a.file("client.pem")
	a.KeyFile = a.file("client-key.pem")

	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Lab CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := issue(ca, ca, nil, a.CAFile, "")
	if err != nil {
		return err
	}
	a.authority = authority{ca, key}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "server.dc1.consul"},
		DNSNames:    []string{"server.dc1.consul", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(a.options.Address)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if _, err := issue(server, ca, key, a.file("server.pem"), a.file("server-key.pem")); err != nil {
		return err
	}
	return a.RenewClientCertificate()
}

// RenewClientCertificate writes a new client certificate and key over the old ones.
func (a *Agent) RenewClientCertificate() error {
	client := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "client"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, err := issue(client, a.authority.certificate, a.authority.key, a.CertFile, a.KeyFile)
	return err
}

// issue fills in the rest of a certificate, signs it and writes it. Without a
// signing key it signs itself; without a key file the key stays in memory.
func issue(cert, by *x509.Certificate, signer *ecdsa.PrivateKey, certFile, keyFile string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signer == nil {
		signer = key
	}
	if cert.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, err
	}
	cert.NotBefore = time.Now().Add(-time.Hour)
	cert.NotAfter = time.Now().Add(24 * time.Hour)
	cert.KeyUsage |= x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, cert, by, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	err = os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	if keyFile != "" {
		err = errors.Join(err, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	}
	return key, err
}
