package uaparser

import "testing"

const (
	mozilla = "Mozilla/5.0 "
	webKit  = " AppleWebKit/605.1.15 (KHTML, like Gecko) "
	blink   = " AppleWebKit/537.36 (KHTML, like Gecko) "
	iPhone  = "(iPhone; CPU iPhone OS 17_4_1 like Mac OS X)"
	mac     = "(Macintosh; Intel Mac OS X 10_15_7)"
	linux   = "(X11; Linux x86_64)"
	android = "(Linux; Android 14; K)"
)

// What uap-go answers too for all browsers here, and LiveKit's own rule for OBS.
func TestBrowsersThatLiveKitTreatsDifferentlyAreKnown(t *testing.T) {
	for line, wanted := range map[string][4]string{
		mozilla + "(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":       {"Firefox", "128.0", "Linux", ""},
		mozilla + "(Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0":         {"Firefox Mobile", "128.0", "Android", "14"},
		mozilla + iPhone + webKit + "FxiOS/128.0 Mobile/15E148 Safari/605.1.15":      {"Firefox iOS", "128.0", "iOS", "17.4.1"},
		mozilla + mac + webKit + "Version/18.3.1 Safari/605.1.15":                    {"Safari", "18.3.1", "Mac OS X", "10.15.7"},
		mozilla + iPhone + webKit + "Version/17.4.1 Mobile/15E148 Safari/604.1":      {"Mobile Safari", "17.4.1", "iOS", "17.4.1"},
		mozilla + iPhone + webKit + "CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1": {"Chrome Mobile iOS", "126.0.6478", "iOS", "17.4.1"},
		mozilla + linux + blink + "Chrome/126.0.0.0 Safari/537.36":                   {"Chrome", "126.0.0", "Linux", ""},
		mozilla + android + blink + "Chrome/126.0.0.0 Mobile Safari/537.36":          {"Chrome Mobile", "126.0.0", "Android", "14"},
		mozilla + mac + blink + "Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":       {"Edge", "126.0.0", "Mac OS X", "10.15.7"},
		"OBS-Studio/30.1.2": {"OBS Studio", "30.1.2", "Other", ""},
		"curl/8.5.0":        {"Other", "", "Other", ""},
	} {
		client := NewFromSaved().Parse(line)
		told := [4]string{
			client.UserAgent.Family, client.UserAgent.ToVersionString(),
			client.Os.Family, client.Os.ToVersionString(),
		}
		if told != wanted {
			t.Errorf("%s: %q, not %q", line, told, wanted)
		}
	}
}
