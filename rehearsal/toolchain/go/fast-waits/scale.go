package resource

import (
	"os"
	"strconv"
	"time"
)

// timeScale shortens every wait between two looks at a resource: 0.1 makes a wait of ten seconds
// one second. It is 1, as in the SDK itself, unless WAN_VACE_TIME_SCALE says otherwise. Timeouts
// stay as they are.
var timeScale = readTimeScale(os.Getenv("WAN_VACE_TIME_SCALE"))

func readTimeScale(value string) float64 {
	scale, err := strconv.ParseFloat(value, 64)
	if err != nil || scale <= 0 || scale > 1 {
		return 1
	}
	return scale
}

func scaled(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * timeScale)
}

// withScaledWaits returns a copy, because a caller may use its configuration for several waits.
func withScaledWaits(conf *StateChangeConf) *StateChangeConf {
	copied := *conf
	copied.Delay = scaled(conf.Delay)
	copied.MinTimeout = scaled(conf.MinTimeout)
	copied.PollInterval = scaled(conf.PollInterval)
	return &copied
}
