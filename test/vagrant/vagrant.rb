# Evaluates a Vagrantfile without Vagrant, and prints what each machine is: a line of
# JSON. It knows no more of Vagrant than the file uses.
require "json"

module Vagrant
  def self.configure(_version)
    yield Config.new
  end

  Config = Struct.new(:vm) do
    def initialize = super(Machines.new)
  end

  class Machines
    attr_accessor :box

    def synced_folder(*) = nil
    def provider(_name) = yield(Settings.new)

    def define(name)
      machine = Machine.new
      yield Struct.new(:vm).new(machine)
      puts JSON.generate({ name: name, box: box, hostname: machine.hostname, networks: machine.networks, provisioners: machine.provisioners })
    end
  end

  class Settings
    attr_accessor :memory, :linked_clone
  end

  class Machine
    attr_accessor :hostname
    attr_reader :networks, :provisioners

    def initialize
      @networks = []
      @provisioners = []
    end

    def network(kind, **settings) = @networks << settings.merge(kind: kind)
    def provision(kind, **settings) = @provisioners << settings.merge(kind: kind)
  end
end

load ARGV.first
