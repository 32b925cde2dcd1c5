package virtualpiv

import "context"

// Instruction is the instruction byte of a command.
type Instruction byte

// The instructions of SP 800-73-4.
const (
	Verify              Instruction = 0x20
	ChangeReference     Instruction = 0x24
	ResetRetryCounter   Instruction = 0x2c
	GenerateKey         Instruction = 0x47
	GeneralAuthenticate Instruction = 0x87
	Select              Instruction = 0xa4
	GetResponse         Instruction = 0xc0
	GetData             Instruction = 0xcb
	PutData             Instruction = 0xdb
)

// The instructions that Yubico added.
const (
	MoveKey          Instruction = 0xf6
	GetMetadata      Instruction = 0xf7
	GetSerial        Instruction = 0xf8
	Attest           Instruction = 0xf9
	SetRetries       Instruction = 0xfa
	FactoryReset     Instruction = 0xfb
	GetVersion       Instruction = 0xfd
	ImportKey        Instruction = 0xfe
	SetManagementKey Instruction = 0xff
)

// execute runs a complete command in the selected application.
func (c *Card) execute(ctx context.Context, cmd command) ([]byte, status) {
	if cmd.ins == Select {
		return c.selectApplication(cmd)
	}
	switch c.session.application {
	case applicationPIV:
		return c.executePIV(ctx, cmd)
	case applicationManagement:
		return c.executeManagement(cmd)
	case applicationOTP:
		return c.executeOTP(cmd)
	}
	return nil, swUnknownInstruction
}

func (c *Card) executePIV(ctx context.Context, cmd command) ([]byte, status) {
	switch cmd.ins {
	case Verify:
		return nil, c.verify(cmd)
	case ChangeReference:
		return nil, c.changeReference(cmd)
	case ResetRetryCounter:
		return nil, c.resetRetryCounter(cmd)
	case GeneralAuthenticate:
		return c.generalAuthenticate(ctx, cmd)
	case GenerateKey:
		return c.generateKey(cmd)
	case GetData:
		return c.getData(cmd)
	case PutData:
		return nil, c.putData(cmd)
	default:
		return c.executeYubico(cmd)
	}
}

// executeYubico runs the commands that came with a firmware version.
func (c *Card) executeYubico(cmd command) ([]byte, status) {
	switch {
	case cmd.ins == GetVersion:
		return c.firmware[:], swOK
	case cmd.ins == Attest:
		return c.attest(cmd)
	case cmd.ins == SetRetries:
		return nil, c.setRetries(cmd)
	case cmd.ins == FactoryReset:
		return nil, c.factoryReset()
	case cmd.ins == ImportKey:
		return nil, c.importKey(cmd)
	case cmd.ins == SetManagementKey:
		return nil, c.setManagementKey(cmd)
	case cmd.ins == GetSerial && c.firmware.atLeast(5, 0):
		return c.serialBytes(), swOK
	case cmd.ins == GetMetadata && c.firmware.atLeast(5, 3):
		return c.metadata(cmd)
	case cmd.ins == MoveKey && c.firmware.atLeast(5, 7):
		return nil, c.moveKey(cmd)
	}
	return nil, swUnknownInstruction
}
