package controlplane

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestATableThatIsWaitedForHasChanged(t *testing.T) {
	const file = `
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
service "web" {
  listen = ["192.0.2.10:443/tcp"]
  slots  = 251
  health "tcp" {}
  backend "10.20.0.11" {}
  backend "10.20.0.12" {}
}`
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.start([]byte(file))
		defer func() { s.end() }()
		synctest.Wait()
		s.prober.hear("web 10.20.0.11 well\nweb 10.20.0.12 well", s.daemon.inbox.judged)
		synctest.Wait()

		quiet, next := s.daemon.Generation()
		time.Sleep(time.Hour)
		if n, _ := s.daemon.Generation(); n != quiet {
			t.Errorf("in an hour in which nothing happens it goes from %d to %d", quiet, n)
		}
		s.prober.hear("web 10.20.0.11 well\nweb 10.20.0.12 ill refused", s.daemon.inbox.judged)
		<-next
		if state := s.daemon.Services()[0].Backends[1].State; state != "down" {
			t.Errorf("who was woken reads that it is %s", state)
		}
		synctest.Wait() // what was told after that is published, too
		told, next := s.daemon.Generation()
		if told <= quiet {
			t.Errorf("it goes from %d to %d", quiet, told)
		}
		s.daemon.inbox.changed() // and is as it was
		synctest.Wait()
		select {
		case <-next:
			t.Error("a look that finds nothing new is a change")
		default:
		}
	})
}
