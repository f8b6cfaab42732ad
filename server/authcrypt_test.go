package server

import (
	"strings"
	"testing"
)

// The hashes are what htpasswd, openssl passwd and the system's crypt made of these passwords.
func TestSecrets(t *testing.T) {
	const long = "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	for _, test := range []struct{ name, text, password string }{
		{"htpasswd -B", "$2y$05$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBxR2", "secret"},
		{"htpasswd -B, long", "$2y$05$0CUydda5/W6hyvFoPLnmReFuQ0OKxorqetqL8JiOR3DsusX7MmTJa", long[:72]},
		{"bcrypt 2b", "$2b$04$abcdefghijklmnopqrstuu6EHRqObzoilTUtSLMHy6BpCdW7W2.yi", "pass word ü"},
		{"bcrypt 2a", "$2a$04$abcdefghijklmnopqrstuu6EHRqObzoilTUtSLMHy6BpCdW7W2.yi", "pass word ü"},
		{"htpasswd -2", "$5$rz8JYR2GI/WVw08t$aHVZ1nycOKb5pCYgKHUyFtQjonyeg8eAK5Cqt4Zm1wB", "secret"},
		{"htpasswd -5", "$6$6ZtAKEhnlk/m1odu$WwRNk77eLXLWbvU3imkVs3fAL00Ch3Iaf9cw2kg4WR5hjLzgy4vHzkoqi6jcHMxRPiStXdPrWx8Oe/qbj1SxZ/", "secret"},
		{"htpasswd -5 -r", "$6$rounds=12345$1XXPEokZYfX9OiRo$Y65nq9Zgm2BDLbCrCFxYvllqdKTOzMu/h5ZhHHbgdpP8b/KfcO9ylN6wpmEcf2RqBPoqWk1tbWO59gdRJTNdw/", long},
		{"openssl -5", "$5$8PF0U6hk3uvw0jA0$pJIN/0Z3b45cDx6EiHY1iuLwZYSYIEDLK59PSPJf6QD", "secret"},
		{"openssl -6", "$6$DJxogu/zSYsUwYa.$pVXhRfXniMoZT2bl5XP37OM69oNKT3cbMsxV3kLneb1zVT9JBMYIbxrgiq3/pxzz9VL5s1Vg0.G65Qxc1T8B/.", long},
		{"crypt, short salt", "$6$rounds=1000$s$7XDU1ABRbqPVMczp.zJ9FBaWWwzhXLyaEZWeQPoeYReVIQN5qyOyeF89XU4irNWivJ6DCvTboKoI9BNUN.jdG0", "x"},
		{"crypt, long salt", "$5$rounds=1400$anotherlongsalts$Sc7CqXjeEEW7pIUfR0icTkllEosG2v2TDtavSKgJkZD", "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, hashed, err := parseSecret(test.text)
			if err != nil || !hashed {
				t.Fatalf("hashed %v, %v", hashed, err)
			}
			if !s.matches(test.password) {
				t.Error("the right password is refused")
			}
			for _, wrong := range []string{"", "x" + test.password, test.password[1:], test.password[:len(test.password)-1], test.text} {
				if wrong != test.password && s.matches(wrong) {
					t.Errorf("%q is taken", wrong)
				}
			}
		})
	}
}

// shaCryptLengths are crypt's hashes of so many y, around the lengths of digests and blocks.
var shaCryptLengths = []struct {
	n              int
	sha512, sha256 string
}{
	{0, "$6$rounds=1000$salt$8.6rbmbp5x0d6GHKoit3wSooHPfMEY9cwCpDMr6.bC46HXi1Eqr7xqKZ9RPwaFW/eCyoUBBNRq1xG/f612CuH0", "$5$rounds=1000$salt$oacEarljCLl1hnwSHaKByNaFLSC8faCZtGSPISXgwZ."},
	{1, "$6$rounds=1000$salt$IGGIsh.9mUVE7CjWK7S7EHSl19Hnj2x/enBM9EYN.dOmPuSz4Ab5zG0IKSkuIRsIDJa4IbdN5kpM.fZoqyBEn/", "$5$rounds=1000$salt$jiJSbpCwrBEFHxLAkNYMB5/48ZtF1rUy3w/oNSqvVX4"},
	{15, "$6$rounds=1000$salt$voQVKkRQRi1DWJxYNvSIaccxggvOORwBNeHwtGJt.MIGdSSryJF/zLRmHuDsY5Av5T5wXCOaD9OhXqVWl4/sY/", "$5$rounds=1000$salt$4Ex6wyXe1XKGRTmZ2teTZH0UqUjjKJfToB35oEMwjD7"},
	{16, "$6$rounds=1000$salt$79K380BCJ6xXGhf5rnWptRpgmf8l2aSKggm208fIaYNGqneFYXgkr.JDkTRaghSs7.dlj1uwz.soLAPzXnj.K.", "$5$rounds=1000$salt$p2mcKIDzVZdvM.B/kAUN3srrxfOQpgNYTinSW2GyyGB"},
	{17, "$6$rounds=1000$salt$Bx5Ozq3cO6Lb28Tm3PTxtaKhuwkGJYpodkGr0mTLd1hT7ACqoCEHxLDSpMdCxmB5OiZvr0EDNz4ptkUBxRuww/", "$5$rounds=1000$salt$OuD6uEGQzROTLGhN/AUz8tWFDFMjfWle2EjnkmCNPr9"},
	{31, "$6$rounds=1000$salt$XyN3H49SEduVzzhAS.HBYD2rqr0n0bEAbVSYZ0QrAmDJ88uRAvLr9KnAGOjyxoPPw4bfGb9diaBsfgeKpEvZf0", "$5$rounds=1000$salt$ee71/QA/UiLQbrgrf9.xQd4AposFh7K6QFBP1BBy.yD"},
	{32, "$6$rounds=1000$salt$6i83k8KskzDgMrcp3jO5bJuQFvJQm1y9YClY6ZM1MJCpgme7V9LxzhSQSm3gJXpvWBAF7TuVWXSb8g5L4gyLT.", "$5$rounds=1000$salt$adNp0sJp5uTmA5Z4S/adqTOOdy34f/ZWcKrjTc6wpI9"},
	{33, "$6$rounds=1000$salt$A.4wvdLm4i7gJVDJ1i5LciEyrJ9TQHsxQ2ldxstWTiU.cugw89cpqax.T3pKqc06Axk5VxdRzURAlpSVz1ScY/", "$5$rounds=1000$salt$NPypu.DCLP4wHd2efRBNmK10VnXQgZir8W5EsRlEpg."},
	{63, "$6$rounds=1000$salt$gNcCF/c5rpWuzhJaIn83NJaaWfrRAn7xoIU7ktTMZE.erpNDZrutUWOYdZXcdyjqp3OmQhPhdoYxAoGzMvqJO.", "$5$rounds=1000$salt$ITsYmEnGyM3ksi0c8cbO7s0KGdXYznjNOBGCLuOpdO6"},
	{64, "$6$rounds=1000$salt$rBqTOjy.VPPQNjrg24gY3pq8aPOxfRft1CcyvW3bj1vE.o8.FNMoDR4QPYLT9XHOK/SdUcE3yBhIo/3gbX5f31", "$5$rounds=1000$salt$gqV/EgJUQ6U/Si.rMEsR5th2Ax71i72VKzKFbr/vPJ0"},
	{65, "$6$rounds=1000$salt$zvXz/3AO6/Se9AmVovI5P7w0xzP3HVHuVgv5dAfY6TPSBmd.w.hVMduvH/3JeNhkMie10B472CvynUkISCzAV/", "$5$rounds=1000$salt$YMxYt3OhiuSDbu6FvyCKHD6Wm006MhhEdlPTES.Mgz0"},
	{127, "$6$rounds=1000$salt$lU81z4Nbjkcz8c5Ej9fIp3o3SMLxKKgot1VAmU.WBMY3wQNf2SbICWsTRKUIX03ciL0RL2FwcJNQbRq8EICkD.", "$5$rounds=1000$salt$P1EA3pIMFCvXaUc6BkB3UxOh4Tvdf3QGkX1GALlvCR0"},
	{128, "$6$rounds=1000$salt$sN2qhTVFhgOt.yZDgY6AlgjXcOq0hNm4ConiLqOMd218gOpDpf/hZIn6NK5VpZ.YIcnECz3cnejqknEeotH0b1", "$5$rounds=1000$salt$ylftSGtvXRlUw/Kl.r5WGQZzHQM9uXNYoojtKTe9UXD"},
	{129, "$6$rounds=1000$salt$7tPDC3LUWQgyJ4sMQqQzsBCb5r/HkW8tJexaC.m2ZeQOxHdXiZwQ7Bzji1GhdqOTQVJ04hCoTsdbTjTJL1YN70", "$5$rounds=1000$salt$faJs79JFRnKTQDAcFE2jHHkNj8ozac1gVkKWgbeu0r."},
	{250, "$6$rounds=1000$salt$kA97i7hO3yi0nMcTYLwZdA1YpyqiK9ZAyREr7iES/aNKbqxxH0xjJqciY9NfdBqEHSyx7z1Xn95/Z34.uRNdF.", "$5$rounds=1000$salt$N/3U6lgSGnhSVB8oRwKotnqzZr8V/.eyNZ4gmlGy1AB"},
}

func TestSecretsOfAllLengths(t *testing.T) {
	for _, test := range shaCryptLengths {
		for _, text := range []string{test.sha512, test.sha256} {
			s, _, err := parseSecret(text)
			if err != nil {
				t.Fatal(err)
			}
			if !s.matches(strings.Repeat("y", test.n)) || s.matches(strings.Repeat("y", test.n+1)) {
				t.Errorf("%d bytes with %s", test.n, text)
			}
		}
	}
}

func TestParseSecret(t *testing.T) {
	const tail = "$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA"
	for _, test := range []struct{ name, text, want string }{
		{"password", "secret", ""},
		{"password with a dollar", "$ecret", ""},
		{"password that looks like little", "$2", ""},
		{"password with a brace", "{secret}", ""},
		{"cut bcrypt", "$2y$10$N1tQJ4f4Ni1yESPjLqkDA", "not whole"},
		{"bcrypt with a wrong digit", "$2y$05$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBx!2", "not whole"},
		{"bcrypt without a cost", "$2y$xx$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBxR2", "not whole"},
		{"bcrypt with a low cost", "$2y$03$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBxR2", "not whole"},
		{"bcrypt with a high cost", "$2y$15$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBxR2", "htpasswd -nB -C 10 USER"},
		{"SHA-256", "$5" + tail, ""},
		{"SHA-256 as SHA-512", "$6" + tail, "not whole"},
		{"cut SHA-256", "$5" + tail[:30], "not whole"},
		{"SHA-256 without salt and hash", "$5$", "not whole"},
		{"long salt", "$5$saltsaltsaltsaltx$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", "not whole"},
		{"rounds without end", "$5$rounds=1000", "not whole"},
		{"rounds of no number", "$5$rounds=x" + tail, "not whole"},
		{"rounds below nothing", "$5$rounds=-1" + tail, "not whole"},
		{"too many rounds", "$5$rounds=1000001" + tail, "openssl passwd -5"},
		{"htpasswd -m", "$apr1$oEAzBFi2$Ch4DXXhRSHM/C8kDSWDq/1", "$apr1$ is not taken; make it with htpasswd -nB USER"},
		{"htpasswd -s", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "htpasswd -nB"},
		{"md5crypt", "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "htpasswd -nB"},
		{"yescrypt", "$y$j9T$abc$def", "htpasswd -nB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parseSecret(test.text)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
