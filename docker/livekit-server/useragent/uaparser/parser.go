// Package uaparser tells LiveKit which browser and which system a participant has.
//
// It stands in for github.com/ua-parser/uap-go, which compiles a thousand regular expressions when
// the first browser comes: 13 MB that stay, close to half of what LiveKit takes in a call. LiveKit
// asks for no more than whether a browser is Firefox, Safari or OBS, which Safari, and whether the
// system is Linux or Android. What is known here is named as uap-go names it; devices are not told.
package uaparser

import "strings"

// DefinitionYaml is where LiveKit adds a rule of its own, for OBS, which is known here anyway.
var DefinitionYaml = []byte("user_agent_parsers: []\n")

// Parser reads the User-Agent of a request.
type Parser struct{}

// Client is what is known of a browser and of what it runs on.
type Client struct {
	UserAgent *UserAgent
	Os        *Os
	Device    *Device
}

// UserAgent is a browser.
type UserAgent struct{ Family, version string }

// Os is the system of a browser.
type Os struct{ Family, version string }

// Device is what a browser runs on.
type Device struct{ Family, Model string }

// ToVersionString is up to three numbers with dots between them.
func (browser *UserAgent) ToVersionString() string { return browser.version }

// ToVersionString is up to three numbers with dots between them.
func (system *Os) ToVersionString() string { return system.version }

// NewFromBytes is the parser, whatever the definitions.
func NewFromBytes([]byte) (*Parser, error) { return &Parser{}, nil }

// NewFromSaved is the parser.
func NewFromSaved() *Parser { return &Parser{} }

// rule says what something is, and what its version stands behind, if all words are in the line.
type rule struct {
	words  []string
	family string
	before string
}

// Many browsers claim to be others too: the first rule that holds is right.
var browsers = []rule{
	{[]string{"OBS-Studio/"}, "OBS Studio", "OBS-Studio/"},
	{[]string{"OBS/"}, "OBS", "OBS/"},
	{[]string{"FxiOS/"}, "Firefox iOS", "FxiOS/"},
	{[]string{"Firefox/", "Mobile;"}, "Firefox Mobile", "Firefox/"},
	{[]string{"Firefox/", "Tablet;"}, "Firefox Mobile", "Firefox/"},
	{[]string{"Firefox/"}, "Firefox", "Firefox/"},
	{[]string{"Edg/"}, "Edge", "Edg/"},
	{[]string{"EdgA/"}, "Edge Mobile", "EdgA/"},
	{[]string{"EdgiOS/"}, "Edge Mobile", "EdgiOS/"},
	{[]string{"CriOS/"}, "Chrome Mobile iOS", "CriOS/"},
	{[]string{"Electron/"}, "Electron", "Electron/"},
	{[]string{"HeadlessChrome/"}, "HeadlessChrome", "HeadlessChrome/"},
	{[]string{"Chrome/", "Mobile Safari/"}, "Chrome Mobile", "Chrome/"},
	{[]string{"Chrome/"}, "Chrome", "Chrome/"},
	{[]string{"Version/", "Mobile/", "Safari/"}, "Mobile Safari", "Version/"},
	{[]string{"Version/", "Safari/"}, "Safari", "Version/"},
}

var systems = []rule{
	{[]string{"Android"}, "Android", "Android "},
	{[]string{"iPhone"}, "iOS", " OS "},
	{[]string{"iPad"}, "iOS", " OS "},
	{[]string{"CrOS"}, "Chrome OS", ""},
	{[]string{"Windows"}, "Windows", ""},
	{[]string{"Mac OS X"}, "Mac OS X", "Mac OS X "},
	{[]string{"Linux"}, "Linux", ""},
}

// Parse reads a User-Agent.
func (*Parser) Parse(line string) *Client {
	browser, browserVersion := find(browsers, line)
	system, systemVersion := find(systems, line)
	return &Client{&UserAgent{browser, browserVersion}, &Os{system, systemVersion}, &Device{"Other", ""}}
}

func find(rules []rule, line string) (family, version string) {
	for _, rule := range rules {
		if holds(rule, line) {
			return rule.family, versionBehind(rule.before, line)
		}
	}
	return "Other", ""
}

func holds(rule rule, line string) bool {
	for _, word := range rule.words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

// versionBehind reads 17.4.1 of both "Version/17.4.1" and "OS 17_4_1".
func versionBehind(before, line string) string {
	if before == "" {
		return ""
	}
	_, rest, _ := strings.Cut(line, before)
	end := strings.IndexFunc(rest, func(letter rune) bool {
		return letter != '.' && letter != '_' && (letter < '0' || letter > '9')
	})
	if end >= 0 {
		rest = rest[:end]
	}
	numbers := strings.FieldsFunc(rest, func(letter rune) bool { return letter == '.' || letter == '_' })
	return strings.Join(numbers[:min(len(numbers), 3)], ".")
}
